//! Network namespaces with random names, removed on drop.

use std::{ffi::OsStr, process::Command};

use crate::{
    lab::Lab,
    process::{self, Output},
};

/// A network namespace whose loopback interface is up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `None` where that is not allowed or `ip` is missing.
    pub fn new() -> Option<Self> {
        if !crate::found("ip") {
            return None;
        }
        // The folder is not needed, only its random name, which is free as long as it is there.
        let name = Lab::new().tag().to_ascii_lowercase();
        if !ip(["netns", "add", &name]).status.success() {
            return None;
        }
        let namespace = Self { name };
        ip(["-n", &namespace.name, "link", "set", "lo", "up"]).status.success().then_some(namespace)
    }

    /// Its name, for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = process::command("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(["netns", "delete", &self.name]);
    }
}

fn ip<const N: usize>(args: [&str; N]) -> Output {
    process::run(process::command("ip").args(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_gone_with_its_value() {
        let Some(namespace) = Namespace::new() else {
            crate::skip!("network namespaces are not allowed here")
        };
        let found = process::run(namespace.command("ip").args(["-o", "address"])).success();
        assert!(found.contains("127.0.0.1"), "{found}");
        let name = namespace.name().to_owned();
        drop(namespace);
        assert!(!ip(["netns", "list"]).stdout.contains(&name));
    }
}
