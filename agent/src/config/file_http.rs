//! `instrumentation/development.general` of the configuration file: HTTP headers, methods, redaction.

use super::{headers, settings::HttpConfig, walk::Walk};
use crate::config::walk::Table;

pub(super) fn read(walk: &mut Walk<'_>, instrumentation: &mut Table<'_>, http: &mut HttpConfig) {
    let Some(mut general) = walk.sub(instrumentation, "general") else { return };
    if let Some(mut table) = walk.sub(&mut general, "http") {
        if let Some(mut server) = walk.sub(&mut table, "server") {
            headers_of(walk, &mut server, "request_captured_headers", &mut http.server_request_headers);
            headers_of(walk, &mut server, "response_captured_headers", &mut http.server_response_headers);
            http.known_methods = methods_of(walk, &mut server);
            walk.unused(&server);
        }
        if let Some(mut client) = walk.sub(&mut table, "client") {
            headers_of(walk, &mut client, "request_captured_headers", &mut http.client_request_headers);
            headers_of(walk, &mut client, "response_captured_headers", &mut http.client_response_headers);
            // One list serves both kinds of spans; that of servers comes first.
            http.known_methods = http.known_methods.take().or(methods_of(walk, &mut client));
            let _known = client.take("known_methods");
            walk.unused(&client);
        }
        walk.unused(&table);
    }
    if let Some(mut sanitization) = walk.sub(&mut general, "sanitization") {
        if let Some(mut url) = walk.sub(&mut sanitization, "url") {
            http.sensitive_query_parameters = walk.texts(&mut url, "sensitive_query_parameters");
            walk.unused(&url);
        }
        walk.unused(&sanitization);
    }
    walk.unused(&general);
}

fn methods_of(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Option<Vec<String>> {
    let names = walk.texts(table, "known_methods")?;
    let place = walk.place(&table.at("known_methods"), table.line);
    headers::methods(&place, &names, walk.findings);
    Some(names)
}

fn headers_of(walk: &mut Walk<'_>, table: &mut Table<'_>, key: &str, all: &mut Vec<String>) {
    if let Some(names) = walk.texts(table, key) {
        let place = walk.place(&table.at(key), table.line);
        headers::add(&place, &names, all, walk.findings);
    }
}
