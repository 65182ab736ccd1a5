//! Java: what Spring and the OpenTelemetry agent are told, the archive, the module, the main class.

use super::{absolute, base_name, extension, words, working_folder};
use crate::discover::facts::Facts;

/// Options that take the next argument.
const WITH_VALUE: [&str; 16] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--limit-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--patch-module",
    "--source",
    "--enable-native-access",
    "--describe-module",
    "-d",
];

/// Main classes of well-known servers, by how their names start.
const SERVERS: [(&str, &str); 14] = [
    ("org.apache.catalina.startup.", "tomcat"),
    ("org.eclipse.jetty.", "jetty"),
    ("org.jboss.modules.Main", "wildfly"),
    ("kafka.Kafka", "kafka"),
    ("org.apache.kafka.connect.", "kafka-connect"),
    ("org.apache.zookeeper.", "zookeeper"),
    ("org.elasticsearch.", "elasticsearch"),
    ("org.opensearch.", "opensearch"),
    ("org.logstash.", "logstash"),
    ("org.apache.cassandra.", "cassandra"),
    ("org.apache.activemq.", "activemq"),
    ("org.apache.solr.", "solr"),
    ("org.sonatype.nexus.", "nexus"),
    ("org.apache.spark.deploy.", "spark"),
];

/// A system property of the command line.
pub(super) fn property<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    let value = |arg: &'a String| arg.strip_prefix("-D")?.strip_prefix(name)?.strip_prefix('=');
    facts.args.iter().rev().find_map(value).filter(|value| !value.is_empty())
}

pub(super) fn guess(facts: &Facts, args: &[String]) -> Option<String> {
    let argument = |arg: &String| arg.strip_prefix("--spring.application.name=").map(str::to_owned);
    let spring = args.iter().find_map(argument).or_else(|| {
        let name = property(facts, "spring.application.name").or(facts.variable("SPRING_APPLICATION_NAME"));
        name.map(str::to_owned)
    });
    if spring.as_ref().is_some_and(|name| !name.is_empty()) {
        return spring;
    }
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-jar" => return args.next().and_then(|path| archive(path, facts)),
            "-m" | "--module" => {
                let (module, class) = args.next().map(|arg| arg.split_once('/').unwrap_or((arg, "")))?;
                return Some(if class.is_empty() { module.to_owned() } else { main_class(class, facts) });
            }
            option if WITH_VALUE.contains(&option) => drop(args.next()),
            option if option.starts_with(['-', '@']) => {}
            source if extension(source) == "java" => return super::script(source, &facts.cwd),
            class => return Some(main_class(class, facts)),
        }
    }
    None
}

/// `shop-1.2.3-SNAPSHOT.jar` is `shop`; `app.jar` is the folder that it is in.
fn archive(path: &str, facts: &Facts) -> Option<String> {
    let path = absolute(path, &facts.cwd);
    let file = base_name(&path);
    let stem = file.strip_suffix(".jar").or_else(|| file.strip_suffix(".war")).unwrap_or(file);
    let stem = without_version(stem);
    if words::says_nothing(stem) {
        let base = property(facts, "jetty.base").or(property(facts, "catalina.base"));
        let base = base.and_then(|base| words::folder(&format!("{base}/.")));
        return base.or_else(|| words::folder(&path)).or_else(|| Some(stem.to_owned()));
    }
    (!stem.is_empty()).then(|| stem.to_owned())
}

/// Cuts from the first `-` or `_` that a digit follows, and the words that builds add.
fn without_version(stem: &str) -> &str {
    let version = stem.match_indices(['-', '_']).find(|(at, _)| {
        let rest = stem.get(at + 1..).unwrap_or_default();
        let rest = rest.strip_prefix('v').unwrap_or(rest);
        rest.starts_with(|c: char| c.is_ascii_digit())
    });
    let mut stem = version.and_then(|(at, _)| stem.get(..at)).filter(|stem| !stem.is_empty()).unwrap_or(stem);
    for word in
        ["-SNAPSHOT", "-RELEASE", "-jar-with-dependencies", "-with-dependencies", "-all", "-fat", "-exec"]
    {
        stem = stem.strip_suffix(word).unwrap_or(stem);
    }
    for word in ["-shaded", "-uber", "-runner", "-standalone", "-boot"] {
        stem = stem.strip_suffix(word).unwrap_or(stem);
    }
    stem
}

/// `com.shop.Main` is `shop`; `com.shop.OrderService` is `OrderService`.
fn main_class(class: &str, facts: &Facts) -> String {
    if let Some((_, server)) = SERVERS.iter().find(|(start, _)| class.starts_with(start)) {
        let base = property(facts, "catalina.base").or(property(facts, "jetty.base"));
        let base = base.and_then(|base| words::folder(&format!("{base}/.")));
        return base.filter(|base| !base.starts_with(server)).unwrap_or_else(|| (*server).to_owned());
    }
    if class.starts_with("org.springframework.boot.loader.") {
        return working_folder(facts).unwrap_or_else(|| "spring-boot".to_owned());
    }
    let (package, name) = class.rsplit_once('.').unwrap_or(("", class));
    let name = name.split('$').next().unwrap_or(name);
    let name = name.strip_suffix("Kt").filter(|name| !name.is_empty()).unwrap_or(name);
    if !words::says_nothing(name) {
        return name.to_owned();
    }
    let parts = package.rsplit('.').filter(|part| !part.is_empty() && !words::says_nothing(part));
    parts.map(str::to_owned).next().or_else(|| working_folder(facts)).unwrap_or_else(|| name.to_owned())
}
