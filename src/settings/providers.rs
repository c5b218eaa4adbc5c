//! Config providers: `${NAME:PATH:KEY}` in a configuration stands for what a file, a folder or the environment holds.
//!
//! The worker's own keys are resolved once when they are read, a connector's whenever it is validated or started. What is
//! stored and shown keeps the placeholders: the herder resolves at the last moment.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use pipette_api::{ConfigMap, ConnectError, Result};
use regex::{Captures, Regex};

use super::nearest::{meant, near_key};
use super::properties;
use super::reach::{is_below, resolve};
use super::secrets::Secrets;

const KEY: &str = "config.providers";
/// What their own keys begin with.
pub(super) const BELOW: &str = "config.providers.";
/// Behind the name of a provider.
const OWN: [&str; 3] = ["class", "param.allowed.paths", "param.allowlist.pattern"];
/// The variables that a provider gives when nobody says which.
const EVERY: &str = "^(?:.*)$";

/// What providers are called in Kafka's documentation and most people's files. Templates of plugins look like placeholders,
/// and none of theirs begins so.
const USUAL: [&str; 5] = ["env", "file", "directory", "vault", "secret"];

/// Java's: the first colon ends the provider's name, the next one the path, and there may be no path.
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| match Regex::new(r"\$\{([^}]*?):(?:([^}]*?):)?([^}]*?)\}") {
    Ok(pattern) => pattern,
    Err(_) => unreachable!("the pattern is a constant, and tested"),
});

/// The providers of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Providers(BTreeMap<String, Provider>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Provider {
    /// Java's properties files below these paths, or all.
    File(Option<Vec<PathBuf>>),
    /// Files as they are, by their name in a folder.
    Directory(Option<Vec<PathBuf>>),
    /// Variables whose names match.
    Environment(String),
}

impl Providers {
    /// The providers that a worker file names. The error names the key to mend.
    pub fn read(worker: &ConfigMap) -> Result<Self> {
        names(worker).map(|name| Ok((name.to_owned(), Provider::read(worker, name)?))).collect::<Result<_>>().map(Self)
    }

    /// A configuration with everything in place of its placeholders. Those that nobody knows stay as they are.
    pub fn resolve(&self, config: &ConfigMap) -> Result<ConfigMap> {
        self.resolve_and_tell(config).map(|(config, _)| config)
    }

    /// The same, and what the placeholders stood for.
    pub fn resolve_and_tell(&self, config: &ConfigMap) -> Result<(ConfigMap, Secrets)> {
        let mut secrets = Secrets::default();
        let resolve =
            |(key, value): (&String, &String)| Ok((key.clone(), self.resolve_value(key, value, &mut secrets)?));
        let config = config.iter().map(resolve).collect::<Result<_>>()?;
        Ok((config, secrets))
    }

    /// Whether there is a placeholder of these providers in a value.
    pub fn stands_in(&self, value: &str) -> bool {
        PLACEHOLDER.captures_iter(value).any(|found| self.0.contains_key(&found[1]))
    }

    /// What to say of placeholders that stay as they are, and are taken for a password then. `config` is what `written` was
    /// resolved to.
    pub fn unresolved(&self, written: &ConfigMap, config: &ConfigMap) -> Vec<String> {
        let mut warnings = Vec::new();
        for (key, value) in written {
            let stays = |placeholder: &str| config.get(key).is_some_and(|value| value.contains(placeholder));
            for found in PLACEHOLDER.captures_iter(value).filter(|found| stays(&found[0])) {
                let (whole, name) = (&found[0], &found[1]);
                let why = if self.0.contains_key(name) {
                    format!("the config provider {name} has no such value, or may not give it")
                } else if USUAL.contains(&name) {
                    let known = self.0.keys().map(String::as_str);
                    format!("{KEY} of the worker does not name {name}{}", meant(name, known))
                } else {
                    continue;
                };
                warnings.push(format!("{key}: {whole} stays as it is written: {why}"));
            }
        }
        warnings
    }

    /// Those without paths of their own keep to these.
    pub(super) fn keep_to(&mut self, folders: Option<&[PathBuf]>) {
        for provider in self.0.values_mut() {
            if let Provider::File(own @ None) | Provider::Directory(own @ None) = provider {
                *own = folders.map(<[PathBuf]>::to_vec);
            }
        }
    }

    /// What to say when other machines reach REST and a provider shows all it can; `kept` when `file.allowed.paths` bounds
    /// those of files.
    pub(super) fn unbounded(&self, kept: bool) -> Vec<String> {
        let of = |(name, provider): (&String, &Provider)| {
            let (param, what) = match provider {
                Provider::File(None) | Provider::Directory(None) if !kept => ("allowed.paths", "files"),
                Provider::Environment(pattern) if pattern == EVERY => ("allowlist.pattern", "variables"),
                _ => return None,
            };
            Some(format!(
                "{KEY}.{name}: whoever reaches REST can have any {what} of this machine put into a connector; set \
                 {KEY}.{name}.param.{param}"
            ))
        };
        self.0.iter().filter_map(of).collect()
    }

    fn resolve_value(&self, key: &str, value: &str, secrets: &mut Secrets) -> Result<String> {
        let (mut text, mut end) = (String::new(), 0);
        for found in PLACEHOLDER.captures_iter(value) {
            let Some(whole) = found.get(0) else { continue };
            text.push_str(&value[end..whole.start()]);
            end = whole.end();
            match self.look_up(&found).map_err(|error| error.within(format!("{key}: {}", whole.as_str())))? {
                Some(found) => {
                    text.push_str(&found);
                    secrets.add(whole.as_str(), &found);
                }
                None => text.push_str(whole.as_str()),
            }
        }
        text.push_str(&value[end..]);
        Ok(text)
    }

    fn look_up(&self, found: &Captures<'_>) -> Result<Option<String>> {
        let path = found.get(2).map_or("", |path| path.as_str().trim());
        let Some(provider) = self.0.get(&found[1]) else { return Ok(None) };
        provider.get(path, &found[3])
    }
}

fn names(worker: &ConfigMap) -> impl Iterator<Item = &str> {
    let names = worker.get(KEY).map(String::as_str).unwrap_or_default();
    names.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// Why a key below `config.providers.` changes nothing, if it does not. It may be there to protect.
pub(super) fn in_vain(key: &str, rest: &str, worker: &ConfigMap) -> Option<String> {
    let (name, own) = rest.split_once('.').unwrap_or((rest, ""));
    if !names(worker).any(|known| known == name) {
        return Some(format!("{key} has no effect: {KEY} does not name {name}{}", meant(name, names(worker))));
    }
    if OWN.contains(&own) {
        return None;
    }
    let hint =
        near_key(own, OWN.into_iter()).map_or_else(String::new, |own| format!(". Did you mean {BELOW}{name}.{own}?"));
    Some(format!("{key} is no key of a config provider here and has no effect{hint}"))
}

impl Provider {
    fn read(worker: &ConfigMap, name: &str) -> Result<Self> {
        let key = format!("{KEY}.{name}.class");
        let param = |param: &str| worker.get(&format!("{KEY}.{name}.param.{param}")).map(|value| value.trim());
        let class = worker.get(&key).map(|class| class.trim()).unwrap_or_default();
        match class.rsplit('.').next().unwrap_or_default() {
            "FileConfigProvider" => Ok(Self::File(paths(name, param("allowed.paths"))?)),
            "DirectoryConfigProvider" => Ok(Self::Directory(paths(name, param("allowed.paths"))?)),
            "EnvVarConfigProvider" => {
                let pattern = param("allowlist.pattern").map_or(EVERY.to_owned(), |own| format!("^(?:{own})$"));
                let key = format!("{KEY}.{name}.param.allowlist.pattern");
                let bad = |error| ConnectError::config(format!("Invalid value for configuration {key}")).because(error);
                Regex::new(&pattern).map_err(bad)?;
                Ok(Self::Environment(pattern))
            }
            "" => Err(ConnectError::config(format!("Missing required configuration \"{key}\": {KEY} names {name}"))),
            _ => Err(ConnectError::config(format!(
                "Invalid value {class} for configuration {key}: FileConfigProvider, DirectoryConfigProvider and \
                 EnvVarConfigProvider are supported"
            ))),
        }
    }

    fn get(&self, path: &str, key: &str) -> Result<Option<String>> {
        match self {
            Self::Environment(pattern) => {
                if !path.is_empty() {
                    return Err(ConnectError::config(format!(
                        "Path is not supported for EnvVarConfigProvider, invalid value '{path}'"
                    )));
                }
                let allowed = Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(key));
                Ok(if allowed { std::env::var(key).ok() } else { None })
            }
            Self::File(allowed) => {
                let Some(path) = within(allowed.as_deref(), path) else { return Ok(None) };
                let unread = || ConnectError::config(format!("Could not read properties from file {}", path.display()));
                let bytes = std::fs::read(&path).map_err(|error| unread().because(error))?;
                // What is wrong with a line may be told with the line, and it may hold a password.
                let mut found = properties::parse(&bytes).map_err(|_| unread())?;
                Ok(found.remove(key))
            }
            Self::Directory(allowed) => {
                let Some(folder) = within(allowed.as_deref(), path) else { return Ok(None) };
                if !folder.is_dir() {
                    tracing::warn!(path = %folder.display(), "A config provider looks into what is no folder");
                    return Ok(None);
                }
                let file = folder.join(key);
                // A name, and not a way to somewhere else.
                let is_name = Path::new(key).components().eq([Component::Normal(key.as_ref())]);
                let stays = || within(allowed.as_deref(), &file.to_string_lossy()).is_some();
                if !is_name || !file.is_file() || !stays() {
                    return Ok(None);
                }
                let unread =
                    |error| ConnectError::config(format!("Could not read file {}", file.display())).because(error);
                std::fs::read_to_string(&file).map(Some).map_err(unread)
            }
        }
    }
}

fn paths(name: &str, text: Option<&str>) -> Result<Option<Vec<PathBuf>>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let one = |path: &str| {
        let path = path.trim();
        let complaint = |why: &str| {
            let key = format!("{KEY}.{name}.param.allowed.paths");
            Err(ConnectError::config(format!("Invalid value {path} for configuration {key}: {why}")))
        };
        match Path::new(path) {
            relative if !relative.is_absolute() => complaint("the path is not absolute"),
            missing if !missing.exists() => complaint("the path does not exist"),
            found => Ok(found.to_owned()),
        }
    };
    text.split(',').map(one).collect::<Result<_>>().map(Some)
}

/// The path, unless it is empty or leads somewhere else than is allowed.
fn within(allowed: Option<&[PathBuf]>, path: &str) -> Option<PathBuf> {
    if path.is_empty() {
        return None;
    }
    let Some(allowed) = allowed else { return Some(PathBuf::from(path)) };
    let found = resolve(Path::new(path)).ok()?;
    if is_below(&found, allowed) {
        return Some(found);
    }
    tracing::warn!(
        path = %found.display(),
        "A config provider may not read this: it is not below its allowed.paths, nor below file.allowed.paths if it has none"
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn worker(folder: &str) -> Providers {
        let class = |name: &str| format!("org.apache.kafka.common.config.provider.{name}");
        let pairs = [
            ("config.providers", "file, dir,env"),
            ("config.providers.file.class", &class("FileConfigProvider")),
            ("config.providers.file.param.allowed.paths", folder),
            ("config.providers.dir.class", &class("DirectoryConfigProvider")),
            ("config.providers.dir.param.allowed.paths", folder),
            ("config.providers.env.class", &class("EnvVarConfigProvider")),
            ("config.providers.env.param.allowlist.pattern", "CARGO_PKG_.*"),
        ];
        Providers::read(&map(&pairs)).unwrap()
    }

    #[test]
    fn placeholders_are_resolved_where_a_provider_knows_them() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("secrets.properties"), "user=me\npass\\:word=a\\nb").unwrap();
        std::fs::write(inner.join("token"), "t\n").unwrap();
        std::fs::write(folder.path().join("outside"), "user=you").unwrap();
        std::os::unix::fs::symlink("../outside", inner.join("link")).unwrap();
        let providers = worker(inner.to_str().unwrap());
        let at = inner.display();
        for (value, expected) in [
            (format!("a ${{file:{at}/secrets.properties:user}} b ${{env:CARGO_PKG_NAME}}"), "a me b pipette"),
            (format!("${{file:{at}/secrets.properties:pass:word}}"), "a\nb"),
            (format!("${{dir:{at}:token}}"), "t\n"),
        ] {
            assert_eq!(providers.resolve_value("k", &value, &mut Secrets::default()).unwrap(), expected, "{value}");
            assert!(providers.stands_in(&value));
        }
        for stays in [
            format!("${{file:{at}/secrets.properties:none}}"),
            format!("${{file:{at}/../outside:user}}"),
            format!("${{dir:{at}:../outside}}"),
            format!("${{file:{at}/link:user}}"),
            format!("${{dir:{at}:link}}"),
            format!("${{dir:{at}/token:token}}"),
            "${env:HOME} ${vault:x:y} ${file} $ {".to_owned(),
            "${file::user}".to_owned(),
        ] {
            assert_eq!(providers.resolve_value("k", &stays, &mut Secrets::default()).unwrap(), stays);
        }
        assert!(!providers.stands_in("${vault:x:y}"));
        let error = providers.resolve(&map(&[("k", &format!("${{file:{at}/none:x}}"))])).unwrap_err().to_string();
        assert!(error.contains("k: ${file:") && error.contains("Could not read properties from file"), "{error}");
        assert!(
            providers
                .resolve_value("k", "${env:/x:HOME}", &mut Secrets::default())
                .unwrap_err()
                .to_string()
                .contains("Path is not supported")
        );
    }

    #[test]
    fn placeholders_that_stay_are_told_and_templates_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        std::fs::write(folder.path().join("p"), "password=${env:CARGO_PKG_NAME}").unwrap();
        let told = |providers: &Providers, value: &str| {
            let written = map(&[("password", value)]);
            providers.unresolved(&written, &providers.resolve(&written).unwrap())
        };
        let (some, none) = (worker(folder.path().to_str().unwrap()), Providers::default());
        for (value, placeholder) in [
            (format!("x ${{file:{at}/p:pasword}}"), format!("${{file:{at}/p:pasword}}")),
            ("${env:HOME}".to_owned(), "${env:HOME}".to_owned()),
            ("${env:CARGO_PKG_NAME} ${env:CARGO_PKG_NO}".to_owned(), "${env:CARGO_PKG_NO}".to_owned()),
        ] {
            let why = "stays as it is written: the config provider";
            let [warning] = told(&some, &value).try_into().unwrap();
            assert!(warning.starts_with(&format!("password: {placeholder} {why}")), "{warning}");
            assert!(!warning.contains("pipette"), "{warning}");
        }
        for (providers, value) in [(&none, "${env:HOME}"), (&some, "${vault:a:b}"), (&some, "${directory:/x:y}")] {
            let [warning] = told(providers, value).try_into().unwrap();
            let name = value[2..].split(':').next().unwrap();
            assert_eq!(
                warning,
                format!("password: {value} stays as it is written: {KEY} of the worker does not name {name}")
            );
        }
        for fine in [
            &*format!("${{file:{at}/p:password}}"),
            "${topic}/${header:x}-${field:a.b}-${timestamp:yyyy}",
            "${name}-$1 ${topic:lenses} ${env} {env:x}",
        ] {
            assert_eq!(told(&some, fine), [""; 0]);
        }
        assert_eq!(told(&none, "${header:x} ${dir:a:b}"), [""; 0]);
    }

    #[test]
    fn a_provider_that_cannot_be_had_is_an_error() {
        let read = |pairs: &[(&str, &str)]| Providers::read(&map(pairs));
        assert_eq!(read(&[]).unwrap(), Providers::default());
        let error = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().to_string();
        assert!(
            error(&[(KEY, "v"), ("config.providers.v.class", "x.VaultConfigProvider")])
                .contains("x.VaultConfigProvider")
        );
        assert!(error(&[(KEY, "v")]).contains("config.providers.v.class"));
        let file = [(KEY, "f"), ("config.providers.f.class", "FileConfigProvider")];
        for (path, why) in [("relative", "not absolute"), ("/no/such/folder", "does not exist")] {
            let pairs = [&file[..], &[("config.providers.f.param.allowed.paths", path)]].concat();
            assert!(error(&pairs).contains(why), "{path}");
        }
        let env = [(KEY, "e"), ("config.providers.e.class", "EnvVarConfigProvider")];
        let pairs = [&env[..], &[("config.providers.e.param.allowlist.pattern", "(")]].concat();
        assert!(error(&pairs).contains("allowlist.pattern"));
    }
}
