//! Which language a process is written in and what runs it (`process.runtime.*`), where that is cheap to
//! know: from the names of executable and files, never by running or attaching to anything.

use super::{
    facts::{Facts, base_name},
    files::Files,
};

/// What runs a program, if it is not the machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
    Deno,
    Bun,
    Java,
    Ruby,
    Php,
    Perl,
    DotNet,
    Erlang,
    Shell,
    /// Another interpreter whose first argument is the script.
    Script,
}

impl Language {
    /// By the executable's file name; by the program's own name if that says nothing.
    pub fn of(facts: &Facts) -> Option<Self> {
        let own = facts.args.first().map_or("", |name| base_name(name));
        Self::named(facts.executable_name()).or_else(|| Self::named(own))
    }

    fn named(name: &str) -> Option<Self> {
        let stem = name.trim_start_matches('-').trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let stem = stem.trim_end_matches('-');
        Some(match stem {
            "python" | "pypy" => Self::Python,
            "node" | "nodejs" => Self::Node,
            "deno" => Self::Deno,
            "bun" => Self::Bun,
            "java" => Self::Java,
            "ruby" | "jruby" | "truffleruby" => Self::Ruby,
            "php" | "php-cgi" | "php-fpm" | "frankenphp" => Self::Php,
            "perl" => Self::Perl,
            "dotnet" => Self::DotNet,
            "beam" | "beam.smp" | "erl" => Self::Erlang,
            "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "fish" | "busybox" => Self::Shell,
            "Rscript" | "R" | "julia" | "lua" | "luajit" | "tclsh" | "guile" | "racket" => Self::Script,
            _ => return None,
        })
    }
}

/// `process.runtime.name` and `process.runtime.version`.
pub fn runtime(facts: &Facts, files: &dyn Files) -> Option<(&'static str, Option<String>)> {
    let exe = facts.executable_name();
    let digits = || {
        let version = exe.trim_start_matches(|c: char| !c.is_ascii_digit());
        (!version.is_empty()).then(|| version.to_owned())
    };
    Some(match Language::of(facts)? {
        Language::Python if exe.starts_with("pypy") => ("pypy", digits()),
        Language::Python => ("cpython", digits()),
        Language::Node => ("nodejs", None),
        Language::Deno => ("deno", None),
        Language::Bun => ("bun", None),
        Language::Java => java(facts, files),
        Language::Ruby => ("ruby", digits()),
        Language::Php => ("php", digits()),
        Language::Perl => ("perl", digits()),
        Language::DotNet => (".NET", None),
        Language::Erlang => ("BEAM", None),
        Language::Shell | Language::Script => return None,
    })
}

/// The `release` file of a Java home says which one it is (JEP 223).
fn java(facts: &Facts, files: &dyn Files) -> (&'static str, Option<String>) {
    let home = facts.exe.strip_suffix("/bin/java").unwrap_or_default();
    let home = home.strip_suffix("/jre").unwrap_or(home);
    let release = files.read(&format!("{home}/release")).unwrap_or_default();
    let release = String::from_utf8_lossy(&release);
    let value = |key: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    let graal = value("GRAALVM_VERSION").is_some();
    let name = if graal { "GraalVM" } else { "OpenJDK Runtime Environment" };
    (name, value("JAVA_RUNTIME_VERSION").or_else(|| value("JAVA_VERSION")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn facts(exe: &str) -> Facts {
        Facts { exe: exe.to_owned(), args: vec!["x".to_owned()], ..Facts::default() }
    }

    #[test]
    fn runtimes_are_known_by_name() {
        let none = HashMap::<&str, &str>::new();
        for (exe, expected) in [
            ("/usr/bin/python3.11", Some(("cpython", Some("3.11")))),
            ("/usr/bin/python3", Some(("cpython", Some("3")))),
            ("/opt/pypy3.10", Some(("pypy", Some("3.10")))),
            ("/usr/bin/node", Some(("nodejs", None))),
            ("/usr/bin/ruby3.1", Some(("ruby", Some("3.1")))),
            ("/usr/sbin/php-fpm8.2", Some(("php", Some("8.2")))),
            ("/usr/bin/perl5.36", Some(("perl", Some("5.36")))),
            ("/usr/share/dotnet/dotnet", Some((".NET", None))),
            ("/usr/lib/erlang/erts-13/bin/beam.smp", Some(("BEAM", None))),
            ("/usr/bin/bash", None),
            ("/usr/sbin/nginx", None),
            ("/usr/bin/pythonista", None),
        ] {
            let found = runtime(&facts(exe), &none);
            let found = found.as_ref().map(|(name, version)| (*name, version.as_deref()));
            assert_eq!(found, expected, "{exe}");
        }
    }

    #[test]
    fn a_java_home_tells_its_version() {
        let release = "IMPLEMENTOR=\"Debian\"\nJAVA_RUNTIME_VERSION=\"17.0.9+9\"\nJAVA_VERSION=\"17.0.9\"\n";
        let files = HashMap::from([("/usr/lib/jvm/17/release", release)]);
        let java = runtime(&facts("/usr/lib/jvm/17/bin/java"), &files);
        assert_eq!(java, Some(("OpenJDK Runtime Environment", Some("17.0.9+9".to_owned()))));
        let unknown = runtime(&facts("/elsewhere/java"), &files);
        assert_eq!(unknown, Some(("OpenJDK Runtime Environment", None)));
    }
}
