//! Who is there: every client that serves anything answers PING, INFO and STATS on the service `$`.

use super::responder::Responder;
use super::{Buffer, State};
use crate::error::Result;
use crate::proto::envelope::{Frame, Head, Kind};
use serde_json::{Value, json};

impl Buffer {
    /// Listens for questions about services, once.
    pub(super) fn listen_for_discovery(&self, state: &mut State) -> Result<()> {
        if state.responders.discovery.is_some() {
            return Ok(());
        }
        state.responders.discovery = Some(self.subscribe_own(&self.service_channel(b"$"))?);
        Ok(())
    }

    /// Answers a question about services.
    pub(super) fn discovered(&self, state: &State, frame: &Frame<'_>) {
        let head = &frame.head;
        if frame.kind != Kind::Request || head.not == self.instance || head.reply.is_empty() {
            return;
        }
        let answer = Head {
            id: head.id.clone(),
            asking: head.asking.clone(),
            by: format!("{}.0", self.instance).into(),
            name: self.name.as_str().into(),
            ..Head::new(Kind::End)
        };
        let services = state.responders.all.values();
        let body = match frame.body {
            b"PING" => "PONG".to_owned(),
            b"INFO" => self.about(services.map(Responder::info).collect()),
            b"STATS" => self.about(services.map(Responder::stats).collect()),
            other => {
                // Of a question of any length the beginning, or the head line is longer than anybody reads.
                let shown = String::from_utf8_lossy(other.get(..64).unwrap_or(other));
                let text = format!("{shown:?} is neither PING, INFO nor STATS");
                let head = Head { code: "UNKNOWN".into(), message: text.into(), ..answer.of_kind(Kind::Error) };
                self.send(frame.head.reply.as_bytes(), &head.frame(b""));
                return;
            }
        };
        self.send(head.reply.as_bytes(), &Head { seq: Some(0), ..answer }.frame(body.as_bytes()));
    }

    fn about(&self, services: Vec<Value>) -> String {
        json!({
            "name": self.name,
            "instance": self.instance,
            "version": env!("CARGO_PKG_VERSION"),
            "services": services,
        })
        .to_string()
    }
}
