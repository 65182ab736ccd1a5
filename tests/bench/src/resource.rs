//! Service instances, described as fully as the agent describes a real one.

use std::{borrow::Cow, sync::Arc};

use spandrel::{
    discover::resource::Resource,
    span::{Attribute, Value},
};

use crate::recording::{FIRST_PROCESS, PROCESSES};

const TEXTS: [(&str, &str); 16] = [
    ("telemetry.sdk.name", "spandrel"),
    ("telemetry.sdk.language", "rust"),
    ("telemetry.sdk.version", "0.1.0"),
    ("telemetry.distro.name", "spandrel"),
    ("telemetry.distro.version", "0.1.0"),
    ("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
    ("process.creation.time", "2024-01-02T10:00:00Z"),
    ("process.executable.name", "python3.11"),
    ("process.executable.path", "/usr/bin/python3.11"),
    ("process.command", "python3"),
    ("process.owner", "www-data"),
    ("process.runtime.name", "cpython"),
    ("process.runtime.version", "3.11"),
    ("host.name", "node-1"),
    ("host.arch", "amd64"),
    ("os.type", "linux"),
];

/// The resource of each process of a recording, by its id.
pub fn resources() -> Vec<(u32, Arc<Resource>)> {
    let text = |key: &'static str, value: &str| Attribute {
        key: Cow::Borrowed(key),
        value: Value::Str(value.into()),
    };
    (0..PROCESSES)
        .map(|number| {
            let pid = FIRST_PROCESS + number;
            let service = format!("service-{number}");
            let mut attributes = vec![text("service.name", &service)];
            attributes.extend(TEXTS.map(|(key, value)| text(key, value)));
            attributes.push(Attribute { key: "process.pid".into(), value: Value::Int(i64::from(pid)) });
            let resource = Resource { id: u64::from(number) + 1, service: service.into(), attributes };
            (pid, Arc::new(resource))
        })
        .collect()
}
