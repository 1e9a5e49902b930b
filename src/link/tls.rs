//! TLS for a socket: what to trust, who we are, and an error that says which part failed.
//!
//! A [`TlsSetup`] is loaded once a client (reading the system's roots takes milliseconds) and shared by all its dials.
//! The provider is named here and never installed process-wide: the host may have its own. Without the feature `tls`
//! everything is still here and answers `NOT_BUILT`. Called by `dial`; [`explain`] also by `handshake`, because with
//! TLS 1.3 a server refuses a client's certificate only after our side of the handshake is done.

use std::io;
use std::path::PathBuf;

use tokio::net::TcpStream;

use super::dial::Transport;
use super::quiet::Quiet;
use crate::error::{Error, Result, Status};

/// What a user says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file of CAs to trust, in place of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with our certificate and those between it and its CA.
    pub cert: Option<PathBuf>,
    /// A PEM file with the key of `cert` (PKCS#8, SEC1 or PKCS#1; not encrypted).
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must be for, where it is not the host that was dialled.
    pub server_name: Option<String>,
}

/// A loaded set-up, cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsSetup {
    inner: imp::Setup,
}

impl TlsSetup {
    /// Read the files, or the system's roots.
    pub fn load(options: &TlsOptions) -> Result<TlsSetup> {
        imp::Setup::load(options).map(|inner| TlsSetup { inner })
    }

    /// Agree on TLS over a connected stream. `host` is checked against the certificate unless `server_name` is set.
    pub async fn connect(&self, stream: Quiet<TcpStream>, host: &str) -> Result<Box<dyn Transport>> {
        self.inner.connect(stream, host).await
    }
}

/// What a failed read or write means, if it is TLS that failed it.
pub fn explain(error: &io::Error) -> Option<Error> {
    imp::explain(error).map(|why| Error::new(Status::Tls, why))
}

#[cfg(not(feature = "tls"))]
mod imp {
    use super::*;

    #[derive(Clone, Debug)]
    pub enum Setup {}

    impl Setup {
        pub fn load(_: &TlsOptions) -> Result<Setup> {
            Err(Error::new(Status::NotBuilt, "tls: this build of redmux was made without TLS"))
        }

        pub async fn connect(&self, _: Quiet<TcpStream>, _: &str) -> Result<Box<dyn Transport>> {
            match *self {}
        }
    }

    pub fn explain(_: &io::Error) -> Option<String> {
        None
    }
}

#[cfg(feature = "tls")]
mod imp {
    use super::*;
    use crate::link::dial::text;
    use std::io::ErrorKind;
    use std::path::Path;
    use std::sync::Arc;
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{
        AlertDescription, CertificateError, ClientConfig, Error as TlsError, InconsistentKeys, RootCertStore,
    };
    use tokio_rustls::{TlsConnector, client::TlsStream};

    impl Transport for TlsStream<Quiet<TcpStream>> {}

    #[derive(Clone)]
    pub struct Setup {
        config: Arc<ClientConfig>,
        server_name: Option<ServerName<'static>>,
    }

    /// Only the name: the configuration holds a key.
    impl std::fmt::Debug for Setup {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Setup").field("server_name", &self.server_name).finish_non_exhaustive()
        }
    }

    impl Setup {
        pub fn load(options: &TlsOptions) -> Result<Setup> {
            let server_name = match &options.server_name {
                Some(name) => Some(server_name("tls_server_name", name)?),
                None => None,
            };
            let provider = Arc::new(ring::default_provider());
            let roots = roots(options.ca.as_deref())?;
            let builder = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|e| failed(e.to_string()))?
                .with_root_certificates(roots);
            let config = match (&options.cert, &options.key) {
                (None, None) => builder.with_no_client_auth(),
                (Some(cert), Some(key)) => {
                    let (chain, key) = identity(cert, key, &provider)?;
                    builder
                        .with_client_auth_cert(chain, key)
                        .map_err(|e| failed(format!("tls_cert {}: {e}", cert.display())))?
                }
                (Some(_), None) => return Err(failed("tls_cert is set and tls_key is not")),
                (None, Some(_)) => return Err(failed("tls_key is set and tls_cert is not")),
            };
            Ok(Setup { config: Arc::new(config), server_name })
        }

        pub async fn connect(&self, stream: Quiet<TcpStream>, host: &str) -> Result<Box<dyn Transport>> {
            let name = match &self.server_name {
                Some(name) => name.clone(),
                None => server_name("host", host)?,
            };
            match TlsConnector::from(self.config.clone()).connect(name, stream).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(e) => Err(failed(match (explain(&e), e.kind()) {
                    (Some(why), _) => why,
                    (None, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                        "it closed the connection during the TLS handshake; does the server speak TLS on that port?"
                            .into()
                    }
                    (None, _) => format!("the TLS handshake failed: {}", text(&e)),
                })),
            }
        }
    }

    fn failed(why: impl Into<String>) -> Error {
        Error::new(Status::Tls, why)
    }

    fn server_name(what: &str, name: &str) -> Result<ServerName<'static>> {
        ServerName::try_from(name.to_owned()).map_err(|_| {
            failed(format!("{what} \"{name}\" is no name that a certificate can be for: set tls_server_name"))
        })
    }

    fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        if let Some(path) = ca {
            for certificate in certificates("tls_ca", path)? {
                store.add(certificate).map_err(|e| failed(format!("tls_ca {}: {e}", path.display())))?;
            }
            return Ok(store);
        }
        let found = rustls_native_certs::load_native_certs();
        // Systems carry a few that cannot be parsed; they are no reason to refuse the rest.
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let why = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
            return Err(failed(format!("this system has no CA certificates{why}: install them, or set tls_ca")));
        }
        Ok(store)
    }

    fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
        std::fs::read(path).map_err(|e| {
            let why = match e.kind() {
                ErrorKind::NotFound => "no such file".to_owned(),
                ErrorKind::PermissionDenied => "not allowed to read it".to_owned(),
                ErrorKind::IsADirectory => "it is a directory, not a PEM file".to_owned(),
                _ => text(&e),
            };
            failed(format!("{what} {}: {why}", path.display()))
        })
    }

    fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
        let pem = read(what, path)?;
        let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&pem).collect();
        match found {
            Ok(found) if found.is_empty() => Err(failed(format!("{what} {}: no certificate in it", path.display()))),
            Ok(found) => Ok(found),
            Err(_) => Err(failed(format!("{what} {}: damaged PEM", path.display()))),
        }
    }

    fn identity(
        cert: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = certificates("tls_cert", cert)?;
        let pem = read("tls_key", key)?;
        let parsed = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| {
            let encrypted = pem.windows(9).any(|w| w == b"ENCRYPTED");
            let why = match e {
                _ if encrypted => "it is encrypted; give one that is not",
                pem::Error::NoItemsFound => "no private key in it",
                // The parser's own words quote the file.
                _ => "damaged PEM",
            };
            failed(format!("tls_key {}: {why}", key.display()))
        })?;
        let signer = provider.key_provider.load_private_key(parsed.clone_key()).map_err(|_| {
            failed(format!("tls_key {}: not a key that can be used (RSA, ECDSA or Ed25519)", key.display()))
        })?;
        match tokio_rustls::rustls::sign::CertifiedKey::new(chain.clone(), signer).keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((chain, parsed)),
            Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(failed(format!("tls_key does not fit tls_cert ({}, {})", key.display(), cert.display())))
            }
            Err(e) => Err(failed(format!("tls_cert {}: {e}", cert.display()))),
        }
    }

    pub fn explain(error: &io::Error) -> Option<String> {
        let error = error.get_ref()?.downcast_ref::<TlsError>()?;
        Some(match error {
            TlsError::InvalidCertificate(why) => certificate(why),
            TlsError::AlertReceived(alert) => refusal(*alert),
            TlsError::InvalidMessage(_) => "the server does not speak TLS on that port".into(),
            other => format!("the TLS handshake failed: {other}"),
        })
    }

    /// Why the server's certificate is not good enough.
    fn certificate(why: &CertificateError) -> String {
        match why {
            CertificateError::UnknownIssuer => {
                "the server's certificate is not signed by a CA we trust (UnknownIssuer): set tls_ca".into()
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                // They come as `DnsName("x")` and `IpAddress(127.0.0.1)`: what a person needs is in the brackets.
                let names: Vec<String> = presented
                    .iter()
                    .filter_map(|name| Some(name.split_once('(')?.1.trim_end_matches(')').trim_matches('"').to_owned()))
                    .map(|name| format!("\"{name}\""))
                    .collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                format!("the certificate is for {names}, not \"{}\": set tls_server_name", expected.to_str())
            }
            CertificateError::NotValidForName => {
                "the certificate is for another name than the one dialled: set tls_server_name".into()
            }
            CertificateError::Expired => "the server's certificate has expired".into(),
            CertificateError::ExpiredContext { time, not_after } => {
                let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
                format!("the server's certificate has expired ({days} days ago by this machine's clock)")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; is this machine's clock right?".into()
            }
            CertificateError::Revoked => "the server's certificate is revoked".into(),
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "the server's certificate is itself a CA: give the server one that is signed by it".into()
            }
            other if format!("{other:?}").contains("UnsupportedCertVersion") => {
                "the server's certificate is of X.509 version 1: make it one with a subjectAltName (version 3)".into()
            }
            other => format!("the server's certificate cannot be used: {other}"),
        }
    }

    /// Why the server broke off.
    fn refusal(alert: AlertDescription) -> String {
        match alert {
            AlertDescription::CertificateRequired => {
                "the server wants a client certificate: set tls_cert and tls_key".into()
            }
            AlertDescription::UnknownCA => {
                "the server does not trust our certificate (UnknownCA): tls_cert must be signed by its CA".into()
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => format!("the server refused our certificate, tls_cert ({alert:?})"),
            AlertDescription::HandshakeFailure => {
                "the server refused the handshake (HandshakeFailure): it may want a client certificate (tls_cert, tls_key), or shares no cipher with us"
                    .into()
            }
            AlertDescription::ProtocolVersion => "the server speaks neither TLS 1.2 nor 1.3".into(),
            other => format!("the server broke TLS off ({other:?})"),
        }
    }
}

#[cfg(all(test, not(feature = "tls")))]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn without_the_feature_tls_is_not_built_and_says_so() {
        let error = TlsSetup::load(&TlsOptions::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.status(), Status::NotBuilt);
        assert!(error.message().contains("made without TLS"));
    }
}
