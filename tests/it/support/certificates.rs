//! An authority and certificates of its own, made by `openssl` in a folder of the test, and stores of them in every form.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The password of every store and encrypted key in here.
pub(crate) const STORE_PASSWORD: &str = "st0re-s3cret";

/// A folder with an authority (`ca.pem`) and what it signs.
pub(crate) struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder for certificates");
        let authority = Self { folder: folder.to_owned() };
        fs::write(authority.at("index.txt"), "").expect("an index");
        let settings = format!(
            "[ca]\ndefault_ca=own\n[own]\ndatabase={}\nnew_certs_dir={}\npolicy=any\nserial={}\ndefault_md=sha256\n\
             unique_subject=no\n[any]\ncommonName=supplied\n[req]\ndistinguished_name=any\n",
            authority.at("index.txt"),
            folder.display(),
            authority.at("serial")
        );
        fs::write(authority.at("serial"), "01\n").expect("a first number");
        fs::write(authority.at("ca.cnf"), settings).expect("its settings");
        authority.openssl(
            "req -config ca.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key \
             -out ca.pem -subj /CN=authority -days 30 -addext basicConstraints=critical,CA:TRUE",
        );
        authority
    }

    /// The path of a file in the folder.
    pub(crate) fn at(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    /// `NAME.key`, `NAME.pem` with certificate and authority, and `NAME.both.pem` with the key as well.
    pub(crate) fn sign(&self, name: &str, alternative_names: &str, from_to: Option<(&str, &str)>) {
        let (from, to) = from_to.unwrap_or(("20250101000000Z", "20491231000000Z"));
        fs::write(self.at(&format!("{name}.ext")), format!("subjectAltName={alternative_names}\n")).expect("its names");
        self.openssl(&format!(
            "req -config ca.cnf -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out \
             {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.crt \
             -startdate {from} -enddate {to} -extfile {name}.ext"
        ));
        let read = |file: String| fs::read_to_string(self.at(&file)).expect("it was made");
        let chain = read(format!("{name}.crt")) + &read("ca.pem".into());
        fs::write(self.at(&format!("{name}.both.pem")), read(format!("{name}.key")) + &chain).expect("all of it");
        fs::write(self.at(&format!("{name}.pem")), chain).expect("the chain");
    }

    /// `NAME.p12` and `NAME.encrypted.key`, under [`STORE_PASSWORD`].
    pub(crate) fn lock_up(&self, name: &str) {
        self.openssl(&format!(
            "pkcs12 -export -in {name}.pem -inkey {name}.key -out {name}.p12 -passout pass:{STORE_PASSWORD}"
        ));
        self.openssl(&format!(
            "pkcs8 -topk8 -in {name}.key -out {name}.encrypted.key -v2 aes-256-cbc -passout pass:{STORE_PASSWORD}"
        ));
    }

    /// Has Java make a store (`trust.p12`, `trust.jks`) with the authority's certificate.
    pub(crate) fn trust(&self, kind: &str) -> String {
        let file = format!("trust.{}", if kind == "PKCS12" { "p12" } else { "jks" });
        self.run("keytool", &format!(
            "-importcert -noprompt -alias authority -file ca.pem -keystore {file} -storetype {kind} -storepass {STORE_PASSWORD}"
        ));
        self.at(&file)
    }

    /// The text of a file as one line, as it may stand in a properties file.
    pub(crate) fn in_one_line(&self, file: &str) -> String {
        fs::read_to_string(self.at(file)).expect("it was made").replace('\n', " ").trim().to_owned()
    }

    fn openssl(&self, line: &str) {
        self.run("openssl", line);
    }

    fn run(&self, program: &str, line: &str) {
        let run = Command::new(program).args(line.split_whitespace()).current_dir(&self.folder).output();
        let output =
            run.unwrap_or_else(|error| panic!("{program} does not start ({error}): apt-get install openssl, Java"));
        assert!(output.status.success(), "{program} {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
