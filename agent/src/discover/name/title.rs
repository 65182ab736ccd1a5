//! Titles: what servers write over their arguments.

use super::{Files, base_name, node, python, words, working_folder};
use crate::discover::facts::Facts;

/// The name in a title, if the arguments are one.
pub(super) fn guess(facts: &Facts, files: &dyn Files) -> Option<String> {
    let title = match facts.args.as_slice() {
        [title] if title.contains([' ', ':']) => title.as_str(),
        // Some leave the arguments behind the title's end.
        [title, ..] if title.contains(": ") => title.as_str(),
        _ => return None,
    };
    let bracket = title.rsplit_once('[').and_then(|(_, rest)| rest.split(']').next());
    let bracket = bracket.filter(|name| !name.is_empty());
    let word = title.split([' ', ':', '(']).find(|word| !word.is_empty())?;
    match base_name(word.trim_start_matches('[')) {
        "gunicorn" => {
            Some(bracket.map_or_else(|| "gunicorn".to_owned(), |app| python::application(app, facts)))
        }
        "puma" => {
            bracket.map(str::to_owned).or_else(|| working_folder(facts)).or_else(|| Some("puma".to_owned()))
        }
        "sidekiq" => title.split(' ').nth(2).filter(|word| !word.starts_with('[')).map(str::to_owned),
        "unicorn" | "thin" | "falcon" | "rails" => working_folder(facts),
        "celeryd" => {
            let app = title.split_once("-A ").and_then(|(_, rest)| rest.split([' ', ')']).next());
            Some(app.map_or_else(|| "celery".to_owned(), |app| python::application(app, facts)))
        }
        "php-fpm" => {
            let pool = title.split_once(": pool ").map(|(_, pool)| pool.trim());
            Some(pool.filter(|pool| !words::says_nothing(pool)).unwrap_or("php-fpm").to_owned())
        }
        "Passenger" => {
            let path = title.split(' ').find(|word| word.starts_with('/'))?;
            words::folder(&format!("{}/.", path.trim_end_matches("/public")))
        }
        "uWSGI" => working_folder(facts).or_else(|| Some("uwsgi".to_owned())),
        "next-server" => node::title("next-server", facts, files).or_else(|| Some("next-server".to_owned())),
        // `nginx: worker process`, `postgres: checkpointer`, `sshd: root@pts/0`.
        program if title.contains(": ") && is_program(program) => Some(program.to_owned()),
        _ => None,
    }
}

fn is_program(name: &str) -> bool {
    name.len() <= 32 && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}
