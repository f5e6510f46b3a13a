//! Authentication: clear text (over TLS only), MD5, SCRAM-SHA-256 with and without channel binding.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
    },
    message::{
        backend::{AuthenticationSaslBody, Message},
        frontend,
    },
};
use tokio_postgres::config::ChannelBinding as Policy;

use super::{ReplicationError, Server, connection::Session};

/// Carries a session from its startup message to `AuthenticationOk`.
pub(super) async fn authenticate(
    session: &mut Session,
    server: &Server,
    end_point: Option<Vec<u8>>,
    encrypted: bool,
) -> Result<(), ReplicationError> {
    loop {
        match session.read().await? {
            Message::AuthenticationOk => {
                return match server.channel_binding() {
                    Policy::Require => Err(refused(
                        "the server asked for no SCRAM exchange, but the URL says `channel_binding=require`",
                    )),
                    _ => Ok(()),
                };
            }
            Message::AuthenticationCleartextPassword => {
                if !encrypted {
                    return Err(refused(
                        "the server wants the password in clear text over an open line: use `sslmode=require` or SCRAM",
                    ));
                }
                let password = password(server)?.to_vec();
                session
                    .write(|out| frontend::password_message(&password, out))
                    .await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(server.user().as_bytes(), password(server)?, body.salt());
                session
                    .write(|out| frontend::password_message(hash.as_bytes(), out))
                    .await?;
            }
            Message::AuthenticationSasl(body) => {
                scram(session, server, &body, end_point).await?;
                return match session.read().await? {
                    Message::AuthenticationOk => Ok(()),
                    _ => Err(unexpected()),
                };
            }
            Message::ErrorResponse(body) => return Err(session.server_error(&body)?.into()),
            Message::NoticeResponse(_) => {}
            Message::AuthenticationGss
            | Message::AuthenticationSspi
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential => {
                return Err(refused(
                    "the server asks for GSSAPI, SSPI or Kerberos: use scram-sha-256 in pg_hba.conf for this role",
                ));
            }
            _ => return Err(unexpected()),
        }
    }
}

async fn scram(
    session: &mut Session,
    server: &Server,
    body: &AuthenticationSaslBody,
    end_point: Option<Vec<u8>>,
) -> Result<(), ReplicationError> {
    let (mut plain, mut plus) = (false, false);
    let mut mechanisms = body.mechanisms();
    while let Some(mechanism) = mechanisms.next()? {
        plain |= mechanism == SCRAM_SHA_256;
        plus |= mechanism == SCRAM_SHA_256_PLUS;
    }
    let policy = server.channel_binding();
    let end_point = end_point.filter(|_| policy != Policy::Disable);
    let (mechanism, binding) = match end_point {
        Some(hash) if plus => (
            SCRAM_SHA_256_PLUS,
            ChannelBinding::tls_server_end_point(hash),
        ),
        _ if policy == Policy::Require => {
            return Err(refused(
                "`channel_binding=require`, but this connection has no channel binding (no TLS, or the server's certificate \
                 has no single hash)",
            ));
        }
        Some(_) if plain => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None if plain => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        _ => {
            return Err(refused(
                "the server offers no SASL mechanism that this client knows (SCRAM-SHA-256)",
            ));
        }
    };
    let mut scram = ScramSha256::new(password(server)?, binding);
    session
        .write(|out| frontend::sasl_initial_response(mechanism, scram.message(), out))
        .await?;
    match session.read().await? {
        Message::AuthenticationSaslContinue(body) => scram.update(body.data())?,
        Message::ErrorResponse(body) => return Err(session.server_error(&body)?.into()),
        _ => return Err(unexpected()),
    }
    session
        .write(|out: &mut BytesMut| frontend::sasl_response(scram.message(), out))
        .await?;
    match session.read().await? {
        Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(|error| {
            refused(&format!(
                "the server could not prove that it knows the password: {error}"
            ))
        }),
        Message::ErrorResponse(body) => Err(session.server_error(&body)?.into()),
        _ => Err(unexpected()),
    }
}

fn password(server: &Server) -> Result<&[u8], ReplicationError> {
    server
        .config
        .get_password()
        .ok_or_else(|| refused("the server wants a password and the URL has none"))
}

fn refused(message: &str) -> ReplicationError {
    ReplicationError::Authentication(message.to_owned())
}

fn unexpected() -> ReplicationError {
    ReplicationError::Protocol("an unexpected message during authentication".into())
}
