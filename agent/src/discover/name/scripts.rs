//! The other runtimes: Ruby, PHP, Perl, .NET, Erlang, shells and whatever runs a script.

use super::{absolute, base_name, extension, python, script, words, working_folder};
use crate::discover::{facts::Facts, runtime::Language};

/// Programs of the Ruby world that serve the application in the working folder.
const RUBY_SERVERS: [&str; 11] = [
    "puma",
    "unicorn",
    "rackup",
    "rails",
    "thin",
    "falcon",
    "sidekiq",
    "bundle",
    "passenger",
    "spring",
    "rake",
];

pub(super) fn guess(language: Language, facts: &Facts, args: &[String]) -> Option<String> {
    match language {
        Language::Ruby => ruby(facts, args),
        Language::Php => php(facts, args),
        Language::DotNet => dotnet(facts, args),
        Language::Erlang => erlang(facts, args),
        // busybox is many programs; its first argument is which.
        Language::Shell if facts.executable_name() == "busybox" => busybox(facts, args),
        _ => first(args, &["-I", "-M", "-e", "-l", "-o", "-c"], &["-e", "-c"])
            .and_then(|path| script(path, &facts.cwd)),
    }
}

/// The first argument that is no option and no option's value; nothing behind an option with code in it.
fn first<'a>(args: &'a [String], with_value: &[&str], code: &[&str]) -> Option<&'a str> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if code.contains(&arg.as_str()) {
            return None;
        } else if with_value.contains(&arg.as_str()) {
            args.next();
        } else if !arg.starts_with('-') {
            return Some(arg);
        }
    }
    None
}

fn ruby(facts: &Facts, args: &[String]) -> Option<String> {
    let path = first(args, &["-I", "-r", "-C", "-E"], &["-e"])?;
    let name = base_name(path);
    if RUBY_SERVERS.contains(&name) {
        let folder = path.strip_suffix("/bin/rails").filter(|folder| folder.starts_with('/'));
        let folder = folder.and_then(|folder| words::folder(&format!("{folder}/.")));
        return folder.or_else(|| working_folder(facts)).or_else(|| Some(name.to_owned()));
    }
    script(path, &facts.cwd)
}

fn php(facts: &Facts, args: &[String]) -> Option<String> {
    let name = facts.executable_name();
    if name.starts_with("php-fpm") || name == "frankenphp" {
        return Some(name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').to_owned());
    }
    let root = python_like_option(args, "-t");
    match first(args, &["-S", "-t", "-d", "-c", "-z", "-B", "-R", "-F", "-E"], &["-r"]) {
        Some(path) if matches!(base_name(path), "artisan" | "console" | "index.php" | "router.php") => {
            words::folder(&absolute(path, &facts.cwd)).or_else(|| Some(base_name(path).to_owned()))
        }
        Some(path) => script(path, &facts.cwd),
        None => {
            let root = root.map(|root| format!("{}/.", absolute(root, &facts.cwd)));
            root.and_then(|root| words::folder(&root)).or_else(|| working_folder(facts))
        }
    }
}

fn python_like_option<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).map(String::as_str)
}

fn dotnet(facts: &Facts, args: &[String]) -> Option<String> {
    if let Some(dll) = args.iter().find(|arg| extension(arg) == "dll") {
        return base_name(dll).strip_suffix(".dll").map(str::to_owned);
    }
    if let Some(project) = python_like_option(args, "--project") {
        let name = base_name(project.trim_end_matches('/'));
        return Some(
            name.rsplit_once('.')
                .filter(|(_, end)| end.ends_with("proj"))
                .map_or(name, |(name, _)| name)
                .to_owned(),
        );
    }
    working_folder(facts)
}

fn erlang(facts: &Facts, args: &[String]) -> Option<String> {
    if let Some(release) = facts.variable("RELEASE_NAME") {
        return Some(release.to_owned());
    }
    let node =
        ["-sname", "-name", "--sname", "--name"].into_iter().find_map(|name| python_like_option(args, name));
    let node = node.and_then(|node| node.split('@').next()).filter(|name| !name.is_empty());
    node.map(str::to_owned).or_else(|| working_folder(facts))
}

fn busybox(facts: &Facts, args: &[String]) -> Option<String> {
    let own = facts.args.first().map(|name| base_name(name)).filter(|name| *name != "busybox");
    let applet = own.or_else(|| args.first().map(String::as_str))?;
    match applet {
        "sh" | "ash" => {
            first(args, &[], &["-c"]).filter(|arg| *arg != applet).and_then(|path| script(path, &facts.cwd))
        }
        applet => Some(python::application(applet, facts)),
    }
}
