//! A good guess at `service.name`: what people call the thing, from how it was started.
//!
//! What the process itself says comes first (`OTEL_SERVICE_NAME`, `service.name` in
//! `OTEL_RESOURCE_ATTRIBUTES`, the Java agent's and Spring's properties). Then the program that a runtime
//! runs: script, module, archive or main class; words that mean nothing (`main`, `server`, `app`) give way
//! to the name of their folder. Then the executable. A runtime's own name is the last resort, and is marked
//! as one (`unknown_service:python3`; resource conventions, `service.name`).

mod java;
mod node;
mod python;
mod scripts;
mod title;
mod words;

use super::{
    facts::{Facts, base_name, extension},
    files::Files,
    runtime::Language,
};
use crate::config::pairs;

/// Characters of a guessed name.
const MAX_NAME: usize = 128;

/// The name of the service that a process is part of.
pub fn service_name(facts: &Facts, files: &dyn Files) -> String {
    if let Some(name) = declared(facts) {
        return name;
    }
    let guess = guess(facts, files).and_then(|name| clean(&name));
    let name = guess.or_else(|| unit(&facts.cgroups).and_then(clean));
    name.unwrap_or_else(|| match clean(facts.executable_name()) {
        Some(name) if Language::of(facts).is_some() => format!("unknown_service:{name}"),
        Some(name) => name,
        None => "unknown_service".to_owned(),
    })
}

/// The resource attributes that a process declares for itself. One that cannot be decoded spoils the list
/// (resource/sdk.md).
pub fn declared_attributes(facts: &Facts) -> Vec<(String, String)> {
    let list =
        java::property(facts, "otel.resource.attributes").or(facts.variable("OTEL_RESOURCE_ATTRIBUTES"));
    list.and_then(|list| pairs::parse(list).ok()).unwrap_or_default()
}

fn declared(facts: &Facts) -> Option<String> {
    let full = |name: &str| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    let own = java::property(facts, "otel.service.name").or(facts.variable("OTEL_SERVICE_NAME"));
    own.and_then(full).or_else(|| {
        let attributes = declared_attributes(facts);
        let name = attributes.iter().rev().find(|(key, _)| key == "service.name");
        name.and_then(|(_, name)| full(name))
    })
}

fn guess(facts: &Facts, files: &dyn Files) -> Option<String> {
    if let Some(name) = title::guess(facts, files) {
        return Some(name);
    }
    let args = facts.args.get(1..).unwrap_or_default();
    match Language::of(facts) {
        Some(Language::Python) => python::guess(facts, args),
        Some(Language::Node | Language::Deno | Language::Bun) => node::guess(facts, args, files),
        Some(Language::Java) => java::guess(facts, args),
        Some(language) => scripts::guess(language, facts, args),
        None => binary(facts, args, files),
    }
}

/// A program of its own: its file name, unless that says nothing.
fn binary(facts: &Facts, args: &[String], files: &dyn Files) -> Option<String> {
    let name = facts.executable_name();
    if let Some(name) = python::server(name, facts, args).or_else(|| node::title(name, facts, files)) {
        return Some(name);
    }
    let stem = name.strip_suffix(".exe").unwrap_or(name);
    if words::says_nothing(stem) {
        return words::folder(&facts.exe).or_else(|| Some(stem.to_owned()));
    }
    Some(stem.to_owned())
}

/// The name of the systemd unit, if it is one that a person wrote.
fn unit(cgroups: &[String]) -> Option<&str> {
    let parts =
        cgroups.iter().filter(|path| path.starts_with("/system.slice/")).flat_map(|path| path.rsplit('/'));
    let mut units = parts.filter_map(|part| part.strip_suffix(".service"));
    units.find(|unit| {
        !unit.contains('@') && !matches!(*unit, "docker" | "containerd" | "cron" | "ssh" | "kubelet")
    })
}

/// A guessed name as it may be shown: one line, never a path.
fn clean(name: &str) -> Option<String> {
    let name = base_name(name.trim_end_matches('/'));
    let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let name = name.trim();
    (!name.is_empty() && name != "." && name != "-").then(|| name.to_owned())
}

/// An absolute path for one that was typed in a working directory.
fn absolute(path: &str, cwd: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.starts_with('/') || cwd.is_empty() { path.to_owned() } else { format!("{cwd}/{path}") }
}

/// The name of a script: its stem, or the folder that it is in if that says nothing.
fn script(path: &str, cwd: &str) -> Option<String> {
    let path = absolute(path, cwd);
    let name = base_name(&path);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    // A script behind a descriptor has a number for a name.
    if stem.is_empty() || path.starts_with("/proc/") || path.starts_with("/dev/") {
        return None;
    }
    if words::says_nothing(stem) {
        return words::folder(&path).or_else(|| Some(stem.to_owned()));
    }
    Some(stem.to_owned())
}

/// The folder that a program runs in, if it says something.
fn working_folder(facts: &Facts) -> Option<String> {
    words::folder(&format!("{}/.", facts.cwd))
}

#[cfg(test)]
mod tests;
