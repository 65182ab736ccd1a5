//! An exchange becomes a span, by the HTTP semantic conventions (docs/http/http-spans.md), or those for RPC.
//!
//! A request's head is read once; what an unsampled request costs is that reading.
//!
//! Left out, because the kernel does not show it: `http.route`, `url.template`, `http.request.resend_count`,
//! and the names of Unix sockets. Left out, because the conventions want to be asked for it and there is no
//! standard variable for it: `network.transport`, `network.local.*`, `client.port`, a client's
//! `user_agent.original` and `url.scheme`.

mod fields;
mod kafka;
mod rpc;
mod withheld;

use std::{borrow::Cow, sync::Arc};

use spandrel_common::{
    ids::TraceId,
    sample::Policy,
    w3c::{Context, Extract},
};

use self::fields::{Captured, capture, on_request};
pub(crate) use self::rpc::CODES as RPC_CODES;
use super::{
    Kind, Span, Value,
    address::{self, Authority, authority, default_port, forwarded, ip_text, node},
    attributes::Attributes,
    clock::ClockAnchor,
    context,
    http::{Lines, RequestLine, is_name, lossy, request_line, stream_line, text},
    known::Known,
    measure::{Exemplar, Key, Measures, Observed, is_server, scheme_label},
    outcome::{Verdict, judge},
    policy::{Field, OptIn, SpanPolicy},
    redact::{Redactor, ShownPath},
    semconv as attr,
    target::{Place, Target, full_url, is_scheme, open_authority},
};
use crate::{
    discover::resource::Resource,
    exchange::{Addr, Exchange, Outcome, Protocol, Role},
    protocol::message::Head,
    sample::{Asked, Rules},
    stats::{Count, Stats},
};

/// Builds spans.
#[derive(Debug)]
pub struct Builder {
    policy: SpanPolicy,
    redactor: Redactor,
    sampler: Policy,
    rules: Rules,
    clock: ClockAnchor,
    stats: Arc<Stats>,
    measures: Option<Arc<Measures>>,
    known: Known,
}

/// What a request's head says that its span needs.
#[derive(Debug)]
struct Request<'a> {
    line: RequestLine<'a>,
    host: Option<&'a [u8]>,
    forwarded: Option<&'a [u8]>,
    forwarded_for: Option<&'a [u8]>,
    forwarded_host: Option<&'a [u8]>,
    forwarded_proto: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    /// `grpc-timeout`.
    timeout: Option<&'a [u8]>,
    /// It names the version of the Connect protocol.
    connect: bool,
    context: Context<'a>,
    /// The values of [`OptIn::request_fields`], by their places there.
    captured: Captured<'a>,
}

impl<'a> Request<'a> {
    fn read(head: &'a Head, protocol: Protocol, fields: &[Field]) -> Self {
        let mut lines = Lines::of(head);
        let (line, whole) = lines.start();
        let mut line = match protocol {
            Protocol::Http1 => request_line(line),
            Protocol::Http2 => stream_line(line),
        };
        if !whole && open_authority(line.target) {
            line.target = &[];
        }
        let mut extract = Extract::default();
        let mut request = Self {
            line,
            host: None,
            forwarded: None,
            forwarded_for: None,
            forwarded_host: None,
            forwarded_proto: None,
            user_agent: None,
            content_type: None,
            timeout: None,
            connect: false,
            context: Context { parent: None, state: None, bad_parent: false },
            captured: Vec::new(),
        };
        // All others are only looked at if any is captured.
        let known = |first: u8| matches!(first.to_ascii_lowercase(), b'f' | b'h' | b't' | b'u' | b'x');
        let calls = protocol == Protocol::Http2 || request.line.method == b"POST";
        let call = |first: u8| calls && matches!(first.to_ascii_lowercase(), b'c' | b'g');
        for (name, value) in lines.beginning(|first| known(first) || call(first) || !fields.is_empty()) {
            let is = |usual: &[u8]| is_name(name, usual);
            // Of a field that should come once, the first one counts.
            match name.len() {
                4 if is(b"Host") => request.host = request.host.or(Some(value)),
                9 if is(b"Forwarded") => request.forwarded = request.forwarded.or(Some(value)),
                10 if is(b"User-Agent") => request.user_agent = request.user_agent.or(Some(value)),
                10 if is(b"tracestate") => extract.tracestate(value),
                11 if is(b"traceparent") => extract.traceparent(value),
                12 if is(b"Content-Type") => request.content_type = request.content_type.or(Some(value)),
                12 if is(b"grpc-timeout") => request.timeout = request.timeout.or(Some(value)),
                15 if is(b"X-Forwarded-For") => {
                    request.forwarded_for = request.forwarded_for.or(Some(value));
                }
                16 if is(b"X-Forwarded-Host") => {
                    request.forwarded_host = request.forwarded_host.or(Some(value));
                }
                17 if is(b"X-Forwarded-Proto") => {
                    request.forwarded_proto = request.forwarded_proto.or(Some(value));
                }
                24 if is(b"Connect-Protocol-Version") => request.connect = true,
                _ => {}
            }
            capture(&mut request.captured, fields, name, value);
        }
        request.context = extract.finish();
        request
    }

    /// What was asked for is among the fields that are not known.
    fn is_placeless(&self, exchange: &Exchange) -> bool {
        exchange.protocol == Protocol::Http2 && exchange.gap && self.line.target.is_empty()
    }

    /// A parameter of `Forwarded`, else the first element of its older relative.
    fn through(&self, parameter: &str, older: Option<&'a [u8]>) -> Option<&'a [u8]> {
        let newer = self.forwarded.and_then(|value| forwarded(value, parameter));
        newer.or_else(|| older.map(address::first_of_list)).filter(|value| !value.is_empty())
    }

    /// The scheme of the original request: what a proxy says, what the target says, or what was seen.
    fn scheme(&self, target: &Target<'_>) -> Cow<'static, str> {
        let proxied = self.through("proto", self.forwarded_proto).and_then(|v| std::str::from_utf8(v).ok());
        scheme(proxied.filter(|scheme| is_scheme(scheme)).or(target.scheme))
    }
}

/// A scheme as it is shown: in lower case; plain HTTP, which is what was seen, if nobody says another.
fn scheme(said: Option<&str>) -> Cow<'static, str> {
    match said {
        None => "http".into(),
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https".into(),
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => "http".into(),
        Some(scheme) => scheme.to_ascii_lowercase().into(),
    }
}

impl Builder {
    /// A builder for these choices. Moments are converted by `clock`.
    pub fn new(policy: SpanPolicy, sampler: Policy, clock: ClockAnchor, stats: Arc<Stats>) -> Self {
        let redactor = Redactor::new(policy.redaction.clone());
        Self {
            policy,
            redactor,
            sampler,
            rules: Rules::default(),
            clock,
            stats,
            measures: None,
            known: Known::default(),
        }
    }

    /// Measures what it sees there, sampled or not.
    pub fn measure(&mut self, measures: Option<Arc<Measures>>) {
        self.measures = measures;
    }

    /// Whether anything is measured.
    pub const fn is_measuring(&self) -> bool {
        self.measures.is_some()
    }

    /// Takes other choices, for the exchanges that end from now on. What is as it was keeps its state.
    pub fn set_policy(&mut self, policy: SpanPolicy, sampler: Policy, rules: Rules) {
        if policy.redaction != self.policy.redaction {
            self.redactor = Redactor::new(policy.redaction.clone());
        }
        (self.policy, self.sampler, self.rules) = (policy, sampler, rules);
    }

    /// Takes a later reading, for the spans that end from now on: the Unix clock may have been stepped.
    pub const fn set_clock(&mut self, read: ClockAnchor) {
        self.clock = self.clock.corrected(read);
    }

    /// Builds the span of an exchange. `None` means that it is not sampled, which is counted here.
    pub fn build(&self, exchange: &Exchange, resource: Arc<Resource>) -> Option<Span> {
        let role = exchange.connection.role;
        let opt_in = self.policy.opt_in(role);
        let request = Request::read(&exchange.request, exchange.protocol, &opt_in.request_fields);
        if request.context.bad_parent {
            self.stats.count(Count::BadTraceparent);
        }
        let rules = |trace_id, decided: bool| {
            let asks = !self.rules.is_empty() && (!decided || self.rules.dry_run);
            asks.then(|| self.rule(exchange, &request, &resource, trace_id)).flatten()
        };
        let place = context::place(exchange, &request.context, self.sampler, rules);
        self.observe(exchange, &request, &resource, place.as_ref());
        let Some(place) = place else {
            self.stats.unsampled();
            return None;
        };
        let mut out = Attributes::new(self.policy.limits, &self.redactor, &self.stats);
        let form = rpc::form(exchange, &request);
        let (name, verdict) = match form {
            Some(form) => self.call(&mut out, exchange, &request, form),
            None => self.http(&mut out, exchange, &request),
        };
        if let Some(error) = verdict.error {
            out.push(attr::ERROR_TYPE, error);
        }
        if let Some(outcome) = verdict.outcome {
            out.push(attr::SPANDREL_OUTCOME, Value::Static(outcome));
        }
        if let Some(errno) = verdict.errno {
            out.int(attr::SPANDREL_ERRNO, errno);
        }
        own(&mut out, exchange);
        if let Some(rule) = place.rule {
            out.push(attr::SPANDREL_PARENT_RULE, Value::Static(rule.label()));
        }
        if form != Some(rpc::Form::Grpc) {
            on_request(&mut out, exchange, opt_in, request.captured);
        }

        let (start_ns, mut end_ns) = (exchange.start_ns, exchange.end_ns);
        if end_ns < start_ns {
            end_ns = start_ns;
            self.stats.count(Count::TimesAdjusted);
        }
        if exchange.gap || exchange.request.truncated || exchange.outcome == Outcome::Unseen {
            self.stats.count(Count::PartialSpans);
        }
        if role == Role::Server {
            let found = request.context.parent.is_some();
            self.stats.count(if found { Count::ServerWithParent } else { Count::ServerRoots });
        }
        let (attributes, dropped_attributes) = out.finish();
        Some(Span {
            trace_id: place.trace_id,
            span_id: place.span_id,
            parent_id: place.parent_id,
            parent_remote: place.remote,
            flags: place.flags,
            trace_state: self.redactor.text(String::from(place.state), &self.stats).into(),
            name,
            kind: match role {
                Role::Server => Kind::Server,
                Role::Client => Kind::Client,
            },
            start_ns: self.clock.unix(start_ns),
            end_ns: self.clock.unix(end_ns),
            status: verdict.status,
            attributes,
            dropped_attributes,
            links: Vec::new(),
            dropped_links: 0,
            resource,
        })
    }

    /// Adds what the HTTP conventions ask for; gives the span's name and how the exchange went.
    fn http(
        &self,
        out: &mut Attributes<'_>,
        exchange: &Exchange,
        request: &Request<'_>,
    ) -> (Cow<'static, str>, Verdict) {
        let role = exchange.connection.role;
        let mut name = self.method(out, request.line.method);
        let target = lossy(request.line.target);
        let target = Target::of(&target, request.line.method == b"CONNECT");
        let ShownPath { path, template } = self.redactor.path(target.path, &self.stats);
        match role {
            Role::Server => self.server(out, exchange, request, &target, path),
            Role::Client => self.client(out, exchange, request, &target, &path),
        }
        if let Some(template) = template {
            name = format!("{name} {template}").into();
            out.clean(attr::URL_TEMPLATE, template);
        }
        if let Some(version) = version(request.line.version) {
            out.push(attr::NETWORK_PROTOCOL_VERSION, version);
        }
        let code = exchange.response.as_ref().map(|(code, _)| *code);
        if let Some(code) = code {
            out.int(attr::HTTP_RESPONSE_STATUS_CODE, code);
        }
        (name, judge(role, code, exchange.response_body, exchange.outcome))
    }

    /// Measures the request, unless nobody knows how long it took.
    fn observe(
        &self,
        exchange: &Exchange,
        request: &Request<'_>,
        resource: &Arc<Resource>,
        place: Option<&context::Place>,
    ) {
        let Some(measures) = self.measures.as_deref() else { return };
        if exchange.outcome == Outcome::Unseen {
            return self.stats.count(Count::Unmeasured);
        }
        let role = exchange.connection.role;
        let code = exchange.response.as_ref().map(|(code, _)| *code);
        let error = match judge(role, code, exchange.response_body, exchange.outcome).error {
            Some(Value::Static(error)) => Cow::Borrowed(error),
            Some(Value::Str(error)) => Cow::Owned(error.into()),
            _ => Cow::Borrowed(""),
        };
        let mut key = Key {
            method: self.known_method(request.line.method).unwrap_or(Cow::Borrowed(attr::OTHER)),
            code: code.unwrap_or(0),
            error,
            version: match request.line.version {
                b"1.1" => "1.1",
                b"1.0" => "1.0",
                b"2" => "2",
                _ => "",
            },
            service: 0,
            ..Key::overflow(is_server(role))
        };
        let target = lossy(request.line.target);
        let target = Target::of(&target, request.line.method == b"CONNECT");
        if role == Role::Server {
            key.scheme = scheme_label(&request.scheme(&target));
        } else {
            let scheme = scheme(target.scheme);
            let named = target.authority.map(str::as_bytes).or(request.host).map(authority);
            (key.address, key.port) =
                match (named.filter(|named| !named.host.is_empty()), exchange.connection.peer) {
                    (Some(named), _) => {
                        let host = self.redactor.text(text(named.host), &self.stats);
                        (host.into(), named.port.or_else(|| default_port(&scheme)).unwrap_or(0))
                    }
                    (None, Addr::Ip(addr)) => (ip_text(addr.ip()), addr.port()),
                    (None, Addr::Unix) => (Box::default(), 0),
                };
        }
        let unix_ns = self.clock.unix(exchange.end_ns);
        measures.observe(Observed {
            key,
            resource,
            connection: &exchange.connection,
            start_ns: exchange.start_ns,
            end_ns: exchange.end_ns,
            exemplar: place.map(|place| Exemplar {
                trace_id: place.trace_id,
                span_id: place.span_id,
                seconds: 0.0,
                unix_ns,
            }),
        });
    }

    /// The name of a method that is known.
    fn known_method(&self, method: &[u8]) -> Option<Cow<'static, str>> {
        let usual = attr::METHODS.into_iter().find(|known| known.as_bytes() == method);
        match &self.policy.known_methods {
            None => usual.map(Cow::Borrowed),
            Some(list) => {
                let listed = list.iter().find(|known| known.as_bytes() == method);
                listed.map(|listed| usual.map_or_else(|| Cow::Owned(listed.to_string()), Cow::Borrowed))
            }
        }
    }

    /// What the sampling rules say.
    fn rule(
        &self,
        exchange: &Exchange,
        request: &Request<'_>,
        resource: &Resource,
        trace_id: TraceId,
    ) -> Option<bool> {
        let target = lossy(request.line.target);
        let path = Target::of(&target, request.line.method == b"CONNECT").path;
        self.rules.decide(&Asked {
            service: &resource.service,
            method: request.line.method,
            path: path.as_bytes(),
            header: &|name| {
                let mut lines = Lines::of(&exchange.request);
                lines.start();
                lines.find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
            },
            trace_id,
            now_ns: exchange.start_ns,
        })
    }

    /// Adds the method; gives the span's name.
    fn method(&self, out: &mut Attributes<'_>, method: &[u8]) -> Cow<'static, str> {
        let known = self.known_method(method);
        let Some(known) = known else {
            out.push(attr::HTTP_REQUEST_METHOD, Value::Static(attr::OTHER));
            if !method.is_empty() {
                out.text(attr::HTTP_REQUEST_METHOD_ORIGINAL, text(method));
            }
            return attr::NAME_OTHER.into();
        };
        out.push(
            attr::HTTP_REQUEST_METHOD,
            match &known {
                Cow::Borrowed(known) => Value::Static(known),
                Cow::Owned(known) => Value::Str(known.as_str().into()),
            },
        );
        known
    }

    fn server(
        &self,
        out: &mut Attributes<'_>,
        exchange: &Exchange,
        request: &Request<'_>,
        target: &Target<'_>,
        path: Cow<'_, str>,
    ) {
        let scheme = request.scheme(target);
        let named = request
            .through("host", request.forwarded_host)
            .or_else(|| target.authority.map(str::as_bytes))
            .or(request.host)
            .map(authority)
            .filter(|authority| !authority.host.is_empty());
        if !request.is_placeless(exchange) {
            out.clean(attr::URL_PATH, path);
        }
        if let Some(query) = target.query {
            out.clean(attr::URL_QUERY, self.redactor.query(query, &self.stats));
        }
        endpoint(out, named, &scheme, exchange.connection.local);
        out.push(
            attr::URL_SCHEME,
            match scheme {
                Cow::Borrowed(scheme) => Value::Static(scheme),
                Cow::Owned(scheme) => Value::Str(scheme.into()),
            },
        );
        let peer = peer(out, exchange.connection.peer);
        // What a proxy does not tell, and what it hides, leaves the peer.
        let older = request.forwarded_for.map(address::first_of_list);
        let newer = request.forwarded.and_then(|value| forwarded(value, "for"));
        match (newer.and_then(node).or_else(|| older.and_then(node)), peer) {
            (Some(client), _) => out.text(attr::CLIENT_ADDRESS, text(client)),
            (None, Some(peer)) => out.clean(attr::CLIENT_ADDRESS, peer),
            (None, None) => {}
        }
        if let Some(agent) = request.user_agent {
            out.text(attr::USER_AGENT_ORIGINAL, text(agent));
        }
    }

    fn client(
        &self,
        out: &mut Attributes<'_>,
        exchange: &Exchange,
        request: &Request<'_>,
        target: &Target<'_>,
        path: &str,
    ) {
        let scheme = scheme(target.scheme);
        let named = target.authority.map(str::as_bytes).or(request.host).map(authority);
        let named = named.filter(|authority| !authority.host.is_empty());
        let place = match (named, exchange.connection.peer) {
            (Some(named), _) => Place::Named(named),
            (None, Addr::Ip(addr)) => Place::Peer(addr),
            (None, Addr::Unix) => Place::Nowhere,
        };
        if !request.is_placeless(exchange) {
            let url = full_url(&scheme, place, path, target, &self.redactor, &self.stats);
            out.clean(attr::URL_FULL, url);
        }
        endpoint(out, named, &scheme, exchange.connection.peer);
        peer(out, exchange.connection.peer);
    }
}

/// `server.address` and `server.port`: as named, with the scheme's port if none is; else the address of
/// the socket.
fn endpoint(out: &mut Attributes<'_>, named: Option<Authority<'_>>, scheme: &str, socket: Addr) {
    match (named, socket) {
        (Some(named), _) => {
            out.text(attr::SERVER_ADDRESS, text(named.host));
            if let Some(port) = named.port.or_else(|| default_port(scheme)) {
                out.int(attr::SERVER_PORT, port);
            }
        }
        (None, Addr::Ip(addr)) => {
            out.clean(attr::SERVER_ADDRESS, ip_text(addr.ip()));
            out.int(attr::SERVER_PORT, addr.port());
        }
        (None, Addr::Unix) => {}
    }
}

/// Adds the peer of the connection; gives its address. The names of Unix sockets are not known.
fn peer(out: &mut Attributes<'_>, peer: Addr) -> Option<Box<str>> {
    let Addr::Ip(addr) = peer else { return None };
    let address = ip_text(addr.ip());
    out.clean(attr::NETWORK_PEER_ADDRESS, address.clone());
    out.int(attr::NETWORK_PEER_PORT, addr.port());
    Some(address)
}

fn version(version: &[u8]) -> Option<Value> {
    match version {
        b"1.1" => Some(Value::Static("1.1")),
        b"1.0" => Some(Value::Static("1.0")),
        b"2" => Some(Value::Static("2")),
        // A digit, a dot, a digit (RFC 9112, section 2.3). Others are no version.
        [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Some(Value::Str(text(version).into()))
        }
        _ => None,
    }
}

/// What the conventions have no name for.
fn own(out: &mut Attributes<'_>, exchange: &Exchange) {
    if exchange.wait_ns > 0 && exchange.connection.role == Role::Server {
        out.int(attr::SPANDREL_WAIT, i64::try_from(exchange.wait_ns).unwrap_or(i64::MAX));
    }
    if exchange.request.truncated {
        out.push(attr::SPANDREL_REQUEST_TRUNCATED, Value::Bool(true));
    }
    if exchange.response.as_ref().is_some_and(|(_, head)| head.truncated) {
        out.push(attr::SPANDREL_RESPONSE_TRUNCATED, Value::Bool(true));
    }
    if exchange.gap {
        out.push(attr::SPANDREL_GAP, Value::Bool(true));
    }
}

#[cfg(test)]
mod tests;
