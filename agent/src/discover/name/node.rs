//! Node.js, Deno and Bun: the package, else the script.

use super::{Files, absolute, base_name, script, words, working_folder};
use crate::discover::facts::Facts;

/// Options that take the next argument.
const WITH_VALUE: [&str; 19] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--title",
    "--icu-data-dir",
    "--openssl-config",
    "--inspect-port",
    "--config",
    "-c",
    "--import-map",
    "--preload",
    "--cwd",
    "--tsconfig",
    "--watch-path",
];
/// Commands of the programs that come before the script (`bun run`, `deno serve`).
const COMMANDS: [&str; 8] = ["run", "serve", "start", "x", "exec", "task", "watch", "dev"];
/// Programs that run another script in their own process.
const LAUNCHERS: [&str; 9] = [
    "tsx",
    "ts-node",
    "ts-node-dev",
    "nodemon",
    "pm2-runtime",
    "babel-node",
    "swc-node",
    "dotenv",
    "cross-env",
];
/// Folders above a script in which its package is looked for.
const MAX_LEVELS: usize = 4;

pub(super) fn guess(facts: &Facts, args: &[String], files: &dyn Files) -> Option<String> {
    let Some(path) = entry(args) else { return of_folder(facts, files) };
    let path = absolute(path, &facts.cwd);
    if path.contains("/node_modules/")
        || matches!(base_name(&path), "npm" | "npm-cli.js" | "npx" | "yarn" | "pnpm")
    {
        // A tool that was installed; who uses it is who runs it here.
        return of_folder(facts, files).or_else(|| script(&path, &facts.cwd));
    }
    package(&path, files).or_else(|| script(&path, &facts.cwd))
}

/// Next.js and others put a title over their arguments.
pub(super) fn title(name: &str, facts: &Facts, files: &dyn Files) -> Option<String> {
    name.starts_with("next-server").then(|| of_folder(facts, files)).flatten()
}

fn of_folder(facts: &Facts, files: &dyn Files) -> Option<String> {
    let package = package(&format!("{}/.", facts.cwd), files);
    package.or_else(|| facts.variable("npm_package_name").map(short)).or_else(|| working_folder(facts))
}

/// The script among the arguments.
fn entry(args: &[String]) -> Option<&str> {
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-e" | "--eval" | "-p" | "--print" | "-i" | "--test" => return None,
            option if WITH_VALUE.contains(&option) => drop(args.next()),
            option if option.starts_with('-') => {}
            command if COMMANDS.contains(&command) && args.peek().is_some() => {}
            path if LAUNCHERS.contains(&base_name(path).trim_end_matches(".js")) && args.peek().is_some() => {
            }
            path => return Some(path),
        }
    }
    None
}

/// The name in the nearest `package.json` above a path.
fn package(path: &str, files: &dyn Files) -> Option<String> {
    let mut folder = path;
    for _ in 0..MAX_LEVELS {
        (folder, _) = folder.rsplit_once('/')?;
        if let Some(text) = files.read(&format!("{folder}/package.json")) {
            let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
            let name = short(package.get("name")?.as_str()?);
            return (!words::says_nothing(&name) && !name.is_empty()).then_some(name);
        }
    }
    None
}

/// A package's name without its scope.
fn short(name: &str) -> String {
    base_name(name).to_owned()
}
