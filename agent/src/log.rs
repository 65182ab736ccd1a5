//! What the agent says about itself: one line a condition, on standard error, never on standard output. For people
//! on a terminal, as JSON elsewhere; `tracing` carries it, and takes what libraries and the kernel side say through
//! `log`.

mod writer;

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    io::{IsTerminal as _, Write as _, stderr},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use log::LevelFilter;
use serde_json::json;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use self::writer::Writer;

/// Messages of libraries are for those who look for a fault.
const OURS: &str = "spandrel";
/// One place of the code may say so much in a [`WINDOW`]; what is more is counted and told later.
const WINDOW_LIMIT: u32 = 20;
/// For a person who reads along, ten seconds are now.
const WINDOW: Duration = Duration::from_secs(10);

/// How long the last lines may take when the agent ends: whoever reads them is fast, or away.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where lines are written.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// Writes events as lines.
struct Lines {
    json: bool,
    places: Mutex<HashMap<(String, u32), Place>>,
}

/// What one place of the code said lately.
struct Place {
    since: Instant,
    said: u32,
    unsaid: u64,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let meta = event.metadata();
        let level = *meta.level();
        let target = message.target.take().unwrap_or_else(|| meta.target().to_owned());
        if !target.starts_with(OURS) && log::max_level() < LevelFilter::Debug {
            return;
        }
        let file = message.file.take().or_else(|| meta.file().map(str::to_owned)).unwrap_or_default();
        let place = (file, message.line.or(meta.line()).unwrap_or(0));
        let unsaid = if [LAST, CONDITION].contains(&&*target) {
            Some(0)
        } else {
            self.admit(place, level, Instant::now())
        };
        let Some(unsaid) = unsaid else { return };
        say(line(self.json, level, &target, &message.text, unsaid, SystemTime::now()));
    }
}

impl Lines {
    fn new(json: bool) -> Self {
        Self { json, places: Mutex::default() }
    }

    /// How many messages from this place were not shown before this one; `None` if this one is not either.
    fn admit(&self, place: (String, u32), level: Level, now: Instant) -> Option<u64> {
        // Who asks for details wants all of them.
        if level > Level::INFO {
            return Some(0);
        }
        // Nothing panics while it is held. There are as many places as the code has.
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(place).or_insert(Place { since: now, said: 0, unsaid: 0 });
        if now.duration_since(place.since) >= WINDOW {
            (place.since, place.said) = (now, 0);
        }
        if place.said >= WINDOW_LIMIT {
            place.unsaid += 1;
            return None;
        }
        place.said += 1;
        Some(std::mem::take(&mut place.unsaid))
    }
}

/// A message as a line.
fn line(json: bool, level: Level, target: &str, text: &str, unsaid: u64, now: SystemTime) -> String {
    let level = level.as_str().to_ascii_lowercase();
    if json {
        let timestamp = humantime::format_rfc3339_millis(now).to_string();
        let mut object = json!({"timestamp": timestamp, "level": level, "target": target, "message": text});
        if unsaid > 0
            && let Some(object) = object.as_object_mut()
        {
            object.insert("unsaid".to_owned(), json!(unsaid));
        }
        return object.to_string();
    }
    let mut line = format!("spandrel: {level}: {text}");
    if unsaid > 0 {
        // Writing to memory cannot fail.
        write!(line, " (and {unsaid} more like it before)").ok();
    }
    line
}

/// The message of an event, and where it came from if that was a record of `log`.
#[derive(Default)]
struct Message {
    text: String,
    target: Option<String>,
    file: Option<String>,
    line: Option<u32>,
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.text),
            "log.target" => self.target = Some(value.to_owned()),
            "log.file" => self.file = Some(value.to_owned()),
            name if name.starts_with("log.") => {}
            // Writing to memory cannot fail, here and below.
            name => write!(self.text, " {name}={value}").unwrap_or_default(),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = u32::try_from(value).ok();
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => write!(self.text, "{value:?}").unwrap_or_default(),
            name if name.starts_with("log.") => {}
            name => write!(self.text, " {name}={value:?}").unwrap_or_default(),
        }
    }
}

/// Starts logging at a level. A second call only changes the level.
pub fn init(level: LevelFilter) {
    let json = !stderr().is_terminal();
    let lines = Lines::new(json);
    let gap = move |lost: u64| {
        let text = format!("{lost} lines of the log are lost: nobody read standard error");
        line(json, Level::WARN, OURS, &text, 0, SystemTime::now())
    };
    if let (None, Ok(writer)) = (WRITER.get(), Writer::start(stderr(), gap)) {
        // Who was first is as good.
        WRITER.set(writer).ok();
    }
    // It fails if logging has started already, and then this is that.
    tracing_subscriber::registry().with(lines).try_init().ok();
    log::set_max_level(level);
}

/// Writes a line to standard error, in its order among those of the log. Never waits, once [`init`] was called.
pub fn say(line: String) {
    match WRITER.get() {
        Some(writer) => writer.line(line),
        None => drop(writeln!(stderr(), "{line}")),
    }
}

/// How many lines were never written, because nobody read those before them.
pub fn lines_lost() -> u64 {
    WRITER.get().map_or(0, Writer::lost_so_far)
}

/// The target of last words: each is said, however many there are.
pub const LAST: &str = "spandrel::end";

/// The target of what is said of a destination: bounded there for each of them, so that many may speak at once.
pub const CONDITION: &str = "spandrel::condition";

/// Waits for what was said to be written, but not for long: nobody may read it.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(LAST_WORDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people_and_for_machines() {
        let at = SystemTime::UNIX_EPOCH;
        assert_eq!(line(false, Level::WARN, "spandrel::x", "a \"b\"", 0, at), "spandrel: warn: a \"b\"");
        assert_eq!(
            line(false, Level::WARN, "spandrel", "a", 3, at),
            "spandrel: warn: a (and 3 more like it before)"
        );
        let json: serde_json::Value =
            serde_json::from_str(&line(true, Level::ERROR, "spandrel::x", "a \"b\"\n", 3, at)).unwrap();
        assert_eq!(json["timestamp"], "1970-01-01T00:00:00.000Z");
        assert_eq!((json["level"].as_str(), json["message"].as_str()), (Some("error"), Some("a \"b\"\n")));
        assert_eq!(json["unsaid"], 3);
    }

    #[test]
    fn one_place_cannot_fill_the_log() {
        let (lines, now) = (Lines::new(true), Instant::now());
        let said = |place: u32, now| {
            (0..100).filter(|_| lines.admit(("f".into(), place), Level::WARN, now).is_some()).count()
        };
        assert_eq!((said(1, now), said(2, now), said(1, now)), (20, 20, 0));
        assert_eq!(lines.admit(("f".into(), 1), Level::WARN, now + WINDOW), Some(180));
        assert_eq!(lines.admit(("f".into(), 1), Level::DEBUG, now), Some(0));
    }
}
