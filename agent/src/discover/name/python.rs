//! Python: scripts, modules, and the application that a server is told to serve.

use super::{base_name, extension, script, words, working_folder};
use crate::discover::facts::Facts;

/// Interpreter options that take the next argument.
const WITH_VALUE: [&str; 3] = ["-W", "-X", "--check-hash-based-pycs"];

pub(super) fn guess(facts: &Facts, args: &[String]) -> Option<String> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let rest = args.as_slice();
        match arg.as_str() {
            "-c" if facts.is_python_worker() => return starter(facts).or_else(|| working_folder(facts)),
            "-c" | "-" => return working_folder(facts),
            "-m" => return module(rest.first()?, facts, rest.get(1..).unwrap_or_default()),
            option if WITH_VALUE.contains(&option) => drop(args.next()),
            // Single letters may be put together, the last one being -m or -c: `-um shop`.
            option if option.starts_with('-') && !option.starts_with("--") && option.ends_with('m') => {
                return module(rest.first()?, facts, rest.get(1..).unwrap_or_default());
            }
            option if option.starts_with('-') => {}
            path => {
                let name = base_name(path);
                let name = name.strip_suffix(".py").unwrap_or(name);
                return server(name, facts, rest).or_else(|| script(path, &facts.cwd));
            }
        }
    }
    None
}

/// By the arguments of the process that started it as a worker. (Those of a server may begin with the server.)
fn starter(facts: &Facts) -> Option<String> {
    let (name, rest) = facts.parent.split_first()?;
    let parent = Facts { args: facts.parent.clone(), parent: Vec::new(), ..facts.clone() };
    server(base_name(name), &parent, rest).or_else(|| guess(&parent, rest))
}

/// `-m MODULE`.
fn module(module: &str, facts: &Facts, rest: &[String]) -> Option<String> {
    server(module, facts, rest).or_else(|| Some(application(module, facts)))
}

/// The application behind a server or launcher. `None` if `name` is none of them.
pub(super) fn server(name: &str, facts: &Facts, args: &[String]) -> Option<String> {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let found = match name {
        // The standard library's server, which the module's own name tells better than any folder.
        "http.server" => return Some(name.to_owned()),
        "gunicorn"
        | "uvicorn"
        | "hypercorn"
        | "daphne"
        | "granian"
        | "waitress-serve"
        | "waitress"
        | "uvicorn.main"
        | "gunicorn.app.wsgiapp" => {
            let target = args.iter().find(|arg| is_target(arg)).or_else(|| positional(args));
            target.map(|target| application(target, facts))
        }
        "uwsgi" | "uwsgi-core" => {
            let named = option(args, &["-w", "--module", "--wsgi"]).map(|module| application(module, facts));
            named.or_else(|| {
                option(args, &["--wsgi-file", "--file"]).and_then(|file| script(file, &facts.cwd))
            })
        }
        "flask" => {
            let app = option(args, &["-A", "--app"]).or(facts.variable("FLASK_APP"));
            app.map(|app| application(app, facts))
        }
        "celery" | "celery.__main__" | "dramatiq" | "arq" | "rq" => {
            let app = option(args, &["-A", "--app"]);
            let target = || if name == "celery" { None } else { positional(args) };
            app.or_else(|| target().map(String::as_str)).map(|app| application(app, facts))
        }
        "fastapi" | "streamlit" => {
            let file = args.iter().find(|arg| extension(arg) == "py");
            file.and_then(|file| script(file, &facts.cwd))
        }
        "manage" | "django-admin" | "django" => {
            let settings = option(args, &["--settings"]).or(facts.variable("DJANGO_SETTINGS_MODULE"));
            let project = settings.and_then(|module| module.split('.').next());
            project.filter(|name| !words::says_nothing(name)).map(str::to_owned)
        }
        _ => return None,
    };
    found.or_else(|| working_folder(facts)).or_else(|| (name != "manage").then(|| name.to_owned()))
}

/// `shop.wsgi:application` is `shop`; `main:app` is the folder that it runs in, `main` if that says nothing.
pub(super) fn application(target: &str, facts: &Facts) -> String {
    let module = target.split(':').next().unwrap_or(target);
    if module.contains('/') || extension(module) == "py" {
        return script(module, &facts.cwd).unwrap_or_else(|| module.to_owned());
    }
    let mut parts: Vec<_> = module.split('.').filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && parts.iter().any(|part| !words::says_nothing(part) && *part != "src") {
        while parts.last().is_some_and(|part| words::says_nothing(part)) {
            parts.pop();
        }
        let known = parts.iter().position(|part| !words::says_nothing(part) && *part != "src").unwrap_or(0);
        return parts.split_off(known).join(".");
    }
    let first = parts.first().copied().unwrap_or(module);
    if !words::says_nothing(first) {
        return module.to_owned();
    }
    working_folder(facts).unwrap_or_else(|| first.to_owned())
}

/// `module:attribute`, each part a dotted Python name; a host with a port is not one.
fn is_target(arg: &str) -> bool {
    let name = |part: &str| {
        part.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let Some((module, attribute)) = arg.split_once(':') else { return false };
    let attribute = attribute.split('(').next().unwrap_or(attribute);
    module.split('.').all(name) && attribute.split('.').all(name) && module != "unix"
}

/// The last argument that is neither an option nor right behind one.
fn positional(args: &[String]) -> Option<&String> {
    let behind = |at: usize| at.checked_sub(1).and_then(|at| args.get(at));
    let free = |at: usize| behind(at).is_none_or(|arg| !arg.starts_with('-') || arg.contains('='));
    let found = args.iter().enumerate().rev().find(|(at, arg)| !arg.starts_with('-') && free(*at));
    found.map(|(_, arg)| arg)
}

/// The value of an option, behind it or behind its `=`.
fn option<'a>(args: &'a [String], names: &[&str]) -> Option<&'a str> {
    args.iter().enumerate().find_map(|(at, arg)| {
        if names.contains(&arg.as_str()) {
            return args.get(at + 1).map(String::as_str);
        }
        let (name, value) = arg.split_once('=')?;
        names.contains(&name).then_some(value)
    })
}
