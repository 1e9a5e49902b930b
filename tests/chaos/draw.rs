//! What happened, as a picture: the rates, every fault, and for each inbox when it had lost its link and where it dropped.

use super::history::Grouped;
use super::world::Span;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A row of the lower part: an inbox.
pub struct Row {
    pub label: String,
    pub note: String,
    pub lost: Vec<Span>,
    pub drops: Vec<u64>,
}

/// What is drawn.
pub struct Picture {
    pub title: String,
    pub subtitle: String,
    /// When, ms; how many were published and delivered until then.
    pub samples: Vec<(u64, u64, u64)>,
    pub faults: Vec<(u64, &'static str, u64)>,
    pub rows: Vec<Row>,
}

const WIDTH: f64 = 1440.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 1240.0;
const RATE: f64 = 210.0;
const LANE: f64 = 17.0;

const INK: &str = "#1f2933";
const FAINT: &str = "#8694a3";
const GRID: &str = "#e6eaee";
const DELIVERED: &str = "#2f6fb2";
const PUBLISHED: &str = "#e08e2b";
const LOST: &str = "#d1495b";
const WHOLE: &str = "#cfe8d8";
const SERVER: &str = "#7b4fa3";
const OWNER: &str = "#3a7d5d";

/// Each kind of fault has a colour by what it strikes.
fn colour(kind: &str) -> &'static str {
    match kind {
        "restart" | "crash" | "freeze" | "pause all" | "pause write" => SERVER,
        "kill pubsub" | "kill normal" | "kill user" | "output limit" | "acl" => LOST,
        "slow reader" => PUBLISHED,
        "stop and restart" => OWNER,
        _ => DELIVERED,
    }
}

fn round_up(value: f64) -> f64 {
    let unit = 10f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * unit).find(|&top| top >= value).unwrap_or(value)
}

impl Picture {
    /// The drawing.
    pub fn svg(&self) -> String {
        let end = self.samples.last().map_or(1, |sample| sample.0).max(1) as f64;
        let x = |ms: u64| LEFT + (RIGHT - LEFT) * (ms as f64 / end).min(1.0);
        let mut lanes: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        self.faults.iter().for_each(|&(from, kind, to)| lanes.entry(kind).or_default().push((from, to)));
        let mut lanes: Vec<_> = lanes.into_iter().collect();
        lanes.sort_by_key(|(kind, spans)| (colour(kind), usize::MAX - spans.len()));

        let rates = 112.0;
        let faults = rates + RATE + 62.0;
        let inboxes = faults + LANE * lanes.len() as f64 + 58.0;
        let bottom = inboxes + (LANE + 5.0) * self.rows.len() as f64;
        let height = bottom + 58.0;
        let mut svg = String::new();
        let out = &mut svg;
        let text = |out: &mut String, x: f64, y: f64, style: &str, text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" {style}>{text}</text>"#);
        };
        let head = format!(r#"font-size="13" font-weight="600" fill="{INK}""#);
        let (end_of, small) = (format!(r#"text-anchor="end" fill="{INK}""#), format!(r#"fill="{FAINT}""#));
        let _ = writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" viewBox="0 0 {WIDTH} {height:.0}" font-family="Inter, Helvetica, Arial, sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>"#
        );
        text(out, 28.0, 38.0, &format!(r#"font-size="20" font-weight="700" fill="{INK}""#), &self.title);
        text(out, 28.0, 60.0, &format!(r#"font-size="12.5" fill="{FAINT}""#), &self.subtitle);

        // Time, through all parts.
        let step = round_up(end / 1000.0 / 12.0).max(1.0) as u64;
        for second in (0..=(end / 1000.0) as u64).step_by(step as usize) {
            let at = x(second * 1000);
            let _ = writeln!(out, r#"<path d="M{at:.1} {rates}V{bottom:.1}" stroke="{GRID}"/>"#);
            text(out, at, bottom + 18.0, &format!(r#"text-anchor="middle" fill="{FAINT}""#), &format!("{second} s"));
        }

        self.rates(out, rates, &x, &text);

        text(out, 28.0, faults - 14.0, &head, "Faults");
        for (lane, (kind, spans)) in lanes.iter().enumerate() {
            let y = faults + LANE * lane as f64;
            text(out, LEFT - 12.0, y + 11.0, &end_of, kind);
            text(out, RIGHT + 14.0, y + 11.0, &small, &Grouped(spans.len() as u64).to_string());
            let _ = writeln!(out, r#"<path d="M{LEFT} {:.1}H{RIGHT}" stroke="{GRID}"/>"#, y + 7.5);
            let bars: String = merged(spans, &x, 1.6)
                .map(|(from, to)| format!("M{from:.1} {y:.1}h{:.1}v13h-{:.1}z", to - from, to - from))
                .collect();
            let _ = writeln!(out, r#"<path d="{bars}" fill="{}" fill-opacity=".85"/>"#, colour(kind));
        }

        text(out, 28.0, inboxes - 14.0, &head, "Inboxes");
        for (row, inbox) in self.rows.iter().enumerate() {
            let y = inboxes + (LANE + 5.0) * row as f64;
            text(out, LEFT - 12.0, y + 12.0, &end_of, &inbox.label);
            text(out, RIGHT + 14.0, y + 12.0, &small, &inbox.note);
            let _ = writeln!(
                out,
                r#"<rect x="{LEFT}" y="{y:.1}" width="{}" height="{LANE}" rx="3" fill="{WHOLE}"/>"#,
                RIGHT - LEFT
            );
            let bars: String = merged(&inbox.lost, &x, 1.0)
                .map(|(from, to)| format!("M{from:.1} {y:.1}h{:.1}v{LANE}h-{:.1}z", to - from, to - from))
                .collect();
            let _ = writeln!(out, r#"<path d="{bars}" fill="{LOST}"/>"#);
            let drops: Vec<Span> = inbox.drops.iter().map(|&at| (at, at)).collect();
            let ticks: String = merged(&drops, &x, 1.0)
                .map(|(from, to)| format!("M{from:.1} {:.1}h{:.1}v4h-{:.1}z", y + LANE - 4.0, to - from, to - from))
                .collect();
            let _ = writeln!(out, r#"<path d="{ticks}" fill="{PUBLISHED}"/>"#);
        }

        let legend = [
            (WHOLE, "whole"),
            (LOST, "lost until active again; connections killed, rights taken"),
            (PUBLISHED, "dropped: no room, or too large; a slow reader"),
            (SERVER, "the server stands still or restarts"),
            (DELIVERED, "the network"),
            (OWNER, "the client itself"),
        ];
        let mut at = LEFT;
        for (fill, what) in legend {
            let _ = writeln!(
                out,
                r#"<rect x="{at:.1}" y="{:.1}" width="11" height="11" rx="2" fill="{fill}"/>"#,
                bottom + 32.0
            );
            text(out, at + 17.0, bottom + 41.5, &small, what);
            at += 40.0 + what.len() as f64 * 5.4;
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn rates(
        &self,
        out: &mut String,
        top: f64,
        x: &impl Fn(u64) -> f64,
        text: &impl Fn(&mut String, f64, f64, &str, &str),
    ) {
        let rate = |pair: &[(u64, u64, u64)], of: fn(&(u64, u64, u64)) -> u64| {
            (of(&pair[1]) - of(&pair[0])) as f64 * 1000.0 / (pair[1].0 - pair[0].0).max(1) as f64
        };
        type Field = fn(&(u64, u64, u64)) -> u64;
        let (published, delivered): (Field, Field) = (|s| s.1, |s| s.2);
        let highest = |of| self.samples.windows(2).map(|pair| rate(pair, of)).fold(1.0, f64::max);
        let base = top + RATE;
        text(out, 28.0, top - 18.0, &format!(r#"font-size="13" font-weight="600" fill="{INK}""#), "Messages a second");
        for (of, fill, name, side) in
            [(delivered, DELIVERED, "delivered", true), (published, PUBLISHED, "published", false)]
        {
            let most = round_up(highest(of));
            let y = |value: f64| base - RATE * value / most;
            let mut line = String::new();
            for pair in self.samples.windows(2) {
                let mark = if line.is_empty() { 'M' } else { 'L' };
                let _ = write!(line, "{mark}{:.1} {:.1}", x((pair[0].0 + pair[1].0) / 2), y(rate(pair, of)));
            }
            let ends = self.samples.first().zip(self.samples.last()).map_or((LEFT, RIGHT), |(a, b)| (x(a.0), x(b.0)));
            if side {
                let area = line.replacen('M', &format!("M{:.1} {base:.1}L", ends.0), 1);
                let _ =
                    writeln!(out, r#"<path d="{area}L{:.1} {base:.1}Z" fill="{fill}" fill-opacity=".16"/>"#, ends.1);
            }
            let _ = writeln!(
                out,
                r#"<path d="{line}" fill="none" stroke="{fill}" stroke-width="1.4" stroke-linejoin="round"/>"#
            );
            for quarter in 0..=4 {
                let value = most * f64::from(quarter) / 4.0;
                let label = Grouped(value as u64).to_string();
                let (at, anchor) = if side { (LEFT - 12.0, "end") } else { (RIGHT + 14.0, "start") };
                text(out, at, y(value) + 4.0, &format!(r#"text-anchor="{anchor}" fill="{fill}""#), &label);
                let _ = writeln!(out, r#"<path d="M{LEFT} {:.1}H{RIGHT}" stroke="{GRID}"/>"#, y(value));
            }
            let (at, anchor) = if side { (LEFT - 12.0, "end") } else { (RIGHT + 14.0, "start") };
            text(out, at, base + 20.0, &format!(r#"text-anchor="{anchor}" font-weight="600" fill="{fill}""#), name);
        }
    }
}

/// Spans as ranges of x, each at least so wide; those that touch are one, so that a long run stays a small file.
fn merged(spans: &[Span], x: &impl Fn(u64) -> f64, least: f64) -> impl Iterator<Item = (f64, f64)> {
    let mut spans: Vec<Span> = spans.to_vec();
    spans.sort_unstable();
    let mut all: Vec<(f64, f64)> = Vec::new();
    for (from, to) in spans {
        let (from, to) = (x(from), x(to).max(x(from) + least));
        match all.last_mut() {
            Some(last) if from <= last.1 + 0.2 => last.1 = last.1.max(to),
            _ => all.push((from, to)),
        }
    }
    all.into_iter()
}
