//! `sasl.*`: which login, and with what.

use pipette_api::{ConnectError, Result};

use super::{Security, below};
use crate::kafka::oauth::TokenServer;
use crate::kafka::properties::ClientProperties;
use crate::settings::jaas::Login;
use crate::settings::stores::{self, SslKeys, invalid};

const JAAS: &str = "sasl.jaas.config";
const MECHANISM: &str = "sasl.mechanism";
const HANDLER: &str = "sasl.login.callback.handler.class";
const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";

pub(super) fn properties(security: &Security, properties: &mut ClientProperties) -> Result<()> {
    let mechanism = security.value(MECHANISM).unwrap_or("GSSAPI");
    let module = match mechanism {
        "PLAIN" => "PlainLoginModule",
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => "ScramLoginModule",
        "OAUTHBEARER" => "OAuthBearerLoginModule",
        "GSSAPI" if security.value(MECHANISM).is_none() => {
            let reason = "it is not set, which means Kerberos (GSSAPI), and that is not supported. Set it to the broker's: \
                          PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
            return Err(invalid(security, MECHANISM, reason));
        }
        other => {
            let reason = format!("{other} is not supported; PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are");
            return Err(invalid(security, MECHANISM, &reason));
        }
    };
    let login = login(security, module, mechanism)?;
    refuse_code(security, mechanism)?;
    properties.insert(MECHANISM.into(), mechanism.into());
    if mechanism == "OAUTHBEARER" {
        let server = token_server(security, login.as_ref())?;
        properties.insert("sasl.oauthbearer.config".into(), server.to_text());
        return Ok(());
    }
    let Some(login) = login else {
        let reason = format!("it is missing: {mechanism} needs it, {module} required username=\"…\" password=\"…\";");
        return Err(invalid(security, JAAS, &reason));
    };
    if login.options.get("tokenauth").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(invalid(security, JAAS, "tokenauth=true: logins with delegation tokens are not supported"));
    }
    for (option, name) in [("username", "sasl.username"), ("password", "sasl.password")] {
        let value = login.options.get(option).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| invalid(security, JAAS, &format!("{} has no {option}", login.module)))?;
        properties.insert(name.into(), value.clone());
    }
    Ok(())
}

/// The login line, when it is of the module that belongs to the mechanism.
fn login(security: &Security, module: &str, mechanism: &str) -> Result<Option<Login>> {
    let Some(text) = security.value(JAAS) else { return Ok(None) };
    let login =
        Login::parse(text).map_err(|reason| invalid(security, JAAS, &format!("it cannot be read: {reason}")))?;
    if login.class() != module {
        let reason = format!("{} is not the login module of {MECHANISM}={mechanism}, which is {module}", login.module);
        return Err(invalid(security, JAAS, &reason));
    }
    Ok(Some(login))
}

/// Java code that would do the login, unless it is Apache's own for what is done here.
fn refuse_code(security: &Security, mechanism: &str) -> Result<()> {
    for name in ["sasl.client.callback.handler.class", "sasl.login.class", HANDLER] {
        let Some(class) = security.value(name) else { continue };
        match (name, class.rsplit('.').next().unwrap_or_default()) {
            (HANDLER, "OAuthBearerLoginCallbackHandler") if mechanism == "OAUTHBEARER" => {}
            (HANDLER, "OAuthBearerUnsecuredLoginCallbackHandler") => return Err(unsecured(security, name)),
            _ => {
                let reason = format!("{class} is Java code, which cannot run here. {mechanism} needs none; remove it");
                return Err(invalid(security, name, &reason));
            }
        }
    }
    Ok(())
}

fn unsecured(security: &Security, name: &str) -> ConnectError {
    let reason = format!(
        "it asks for unsecured tokens, which prove nothing to anybody. Set {ENDPOINT} to the address of a token server, \
         and clientId and clientSecret in {JAAS}"
    );
    invalid(security, name, &reason)
}

fn token_server(security: &Security, login: Option<&Login>) -> Result<TokenServer> {
    let Some(endpoint) = security.value(ENDPOINT) else {
        return Err(unsecured(security, if login.is_some() { JAAS } else { ENDPOINT }));
    };
    if !["http://", "https://"].iter().any(|scheme| endpoint.to_lowercase().starts_with(scheme)) {
        return Err(invalid(security, ENDPOINT, "it is not an address that begins with https:// or http://"));
    }
    refuse_other_grants(security, login)?;
    let option = |name: &str| login.and_then(|login| login.options.get(name)).filter(|value| !value.is_empty());
    let either = |key: &str, name: &str| security.value(key).map(str::to_owned).or_else(|| option(name).cloned());
    let needed = |key: &str, name: &str| {
        let missing = || invalid(security, key, &format!("it is missing, and {JAAS} has no {name} either"));
        either(key, name).ok_or_else(missing)
    };
    let milliseconds = |name: &str| {
        let number = security.value(name).map(str::parse::<u64>).transpose();
        number.map_err(|_| invalid(security, name, "Not a number of type INT"))
    };
    // Java reads what the token server's own certificates rest on from the login line.
    let ssl = Options(login.map(|login| below(&login.options, "ssl.")).unwrap_or_default(), security.written(JAAS));
    Ok(TokenServer {
        endpoint: endpoint.to_owned(),
        client: needed("sasl.oauthbearer.client.credentials.client.id", "clientId")?,
        secret: needed("sasl.oauthbearer.client.credentials.client.secret", "clientSecret")?,
        scope: either("sasl.oauthbearer.scope", "scope"),
        urlencode: security
            .value("sasl.oauthbearer.header.urlencode")
            .is_some_and(|it| it.eq_ignore_ascii_case("true")),
        subject: security.value("sasl.oauthbearer.sub.claim.name").unwrap_or("sub").to_owned(),
        connect_ms: milliseconds("sasl.login.connect.timeout.ms")?,
        read_ms: milliseconds("sasl.login.read.timeout.ms")?,
        trusted: stores::trusted(&ssl)?,
        identity: stores::identity(&ssl)?.map(|identity| (identity.chain, identity.key)),
    })
}

fn refuse_other_grants(security: &Security, login: Option<&Login>) -> Result<()> {
    let assertion = |name: &&String| name.starts_with("sasl.oauthbearer.assertion.");
    if let Some(name) = security.given.keys().find(|name| assertion(name) && security.value(name).is_some()) {
        return Err(invalid(
            security,
            name,
            "tokens are fetched with a client's id and secret only, not with assertions",
        ));
    }
    let known =
        |class: &&str| ["DefaultJwtRetriever", "ClientCredentialsJwtRetriever"].iter().any(|it| class.ends_with(it));
    let retriever = security.value("sasl.oauthbearer.jwt.retriever.class");
    if let Some(class) = retriever.filter(|class| !known(class)) {
        let reason = format!("{class} is not supported; tokens are fetched with a client's id and secret only");
        return Err(invalid(security, "sasl.oauthbearer.jwt.retriever.class", &reason));
    }
    if login.is_some_and(|login| login.options.keys().any(|name| name.starts_with("extension_"))) {
        return Err(invalid(security, JAAS, "it has options that begin with extension_, which are not supported"));
    }
    Ok(())
}

/// The `ssl.*` options of a login line.
struct Options(pipette_api::ConfigMap, String);

impl SslKeys for Options {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn written(&self, name: &str) -> String {
        format!("{}: its option {name}", self.1)
    }
}
