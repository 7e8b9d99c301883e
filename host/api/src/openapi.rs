//! The OpenAPI 3.1 document, made of the endpoints and the types of the contract.
//!
//! Committed as `docs/openapi.json`; a test holds the two together and says how to make it anew.

use std::sync::LazyLock;

use keyway_core::Code;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, Header, InfoBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr,
    Required, Response, ResponseBuilder, Schema,
};

use crate::contract::endpoint::{self, Answer, Body, Method, Shape};
use crate::contract::{
    Access, CALL_HEADER, DIGEST_HEADER, ENDPOINTS, Endpoint, LINES_TYPE, PACE_HEADER,
    RELEASE_HEADER, TIMEOUT_HEADER, USER_HEADER, problem,
};

/// Name of the one security scheme.
const BEARER: &str = "bearer";

/// What a call may be asked for with: name, what it means, and whether it is a number.
const CALL_HEADERS: [(&str, &str, bool); 3] = [
    (
        TIMEOUT_HEADER,
        "Milliseconds the call may take; the host's limit applies where it is shorter",
        true,
    ),
    (USER_HEADER, "The user that the call is for: only this user's connections are used", false),
    (
        PACE_HEADER,
        "Where the provider limits the rate: `pass-through`, as if absent, hands its refusal on; `throttle` waits \
         as long as the call may take",
        false,
    ),
];

/// The document as served and as committed.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&document())
            .expect("the document has string keys only, so it is JSON");
        text.push('\n');
        text
    });
    &TEXT
}

/// The document.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    for endpoint in ENDPOINTS {
        let path = endpoint.path.replace("{*", "{");
        for (method, suffix) in methods(endpoint.method) {
            let id = format!("{}{suffix}", endpoint.name.to_lowercase());
            let operation = operation(endpoint).operation_id(Some(id));
            paths.add_path_operation(&path, vec![method], operation);
        }
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Keyway")
                .version("1")
                .description(Some(
                    "Hosts SaaS connectors as WebAssembly components. Every error is a problem \
                     document (RFC 9457) with a stable `code`.",
                ))
                .build(),
        )
        .paths(paths)
        .components(Some(components()))
        .build()
}

/// The methods of an endpoint, and what tells their operations apart.
fn methods(method: Method) -> Vec<(HttpMethod, &'static str)> {
    match method {
        Method::Get => vec![(HttpMethod::Get, "")],
        Method::Put => vec![(HttpMethod::Put, "")],
        Method::Post => vec![(HttpMethod::Post, "")],
        Method::Delete => vec![(HttpMethod::Delete, "")],
        Method::Any => vec![
            (HttpMethod::Get, "_get"),
            (HttpMethod::Put, "_put"),
            (HttpMethod::Post, "_post"),
            (HttpMethod::Patch, "_patch"),
            (HttpMethod::Delete, "_delete"),
        ],
    }
}

fn components() -> utoipa::openapi::Components {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    for endpoint in ENDPOINTS {
        let answers = endpoint.answers.iter().filter_map(|answer| answer.body.as_ref()?.1.as_ref());
        let body = match &endpoint.body {
            Body::Shape(shape) | Body::Lines(shape) => Some(shape),
            Body::Nothing | Body::Component | Body::Json | Body::Bytes => None,
        };
        answers.chain(body).for_each(|shape| collect(shape, &mut schemas));
    }
    collect(&endpoint::PROBLEM, &mut schemas);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of this host: `kw_…`"))
        .build();
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .schema("Code", codes())
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .build()
}

fn collect(shape: &Shape, schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push(((shape.name)().into_owned(), (shape.schema)()));
    (shape.referred)(schemas);
}

/// Every code there is. Not the type of `Problem.code`: a client must bear one that came later.
fn codes() -> Schema {
    let texts = Code::ALL.iter().map(|code| code.as_str());
    let object = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Values of `Problem.code` that this version knows"))
        .enum_values(Some(texts));
    Schema::Object(object.build())
}

fn operation(endpoint: &Endpoint) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .summary(Some(endpoint.summary))
        .tag(tag(endpoint))
        .request_body(request_body(&endpoint.body));
    let security = match endpoint.access {
        Access::Open => SecurityRequirement::default(),
        _ => SecurityRequirement::new(BEARER, Vec::<String>::new()),
    };
    operation = operation.security(security);
    for name in endpoint.path_names() {
        operation = operation.parameter(parameter(ParameterIn::Path, name, None, false));
    }
    for query in endpoint.query {
        let summary = Some(query.summary);
        operation =
            operation.parameter(parameter(ParameterIn::Query, query.name, summary, query.number));
    }
    if endpoint.call.is_some() {
        for (name, summary, number) in CALL_HEADERS {
            let header = parameter(ParameterIn::Header, name, Some(summary), number);
            operation = operation.parameter(header);
        }
    }
    let mut responses: Vec<(u16, Response)> = Vec::new();
    for answer in endpoint.answers {
        let response = response(answer, endpoint.call.is_some());
        match responses.iter_mut().find(|(status, _)| *status == answer.status) {
            // The same in another form.
            Some((_, first)) => first.content.extend(response.content),
            None => responses.push((answer.status, response)),
        }
    }
    for (status, response) in responses {
        operation = operation.response(status.to_string(), response);
    }
    operation.response("default", refusal())
}

/// What the endpoint is filed under: the first word of its name.
fn tag(endpoint: &Endpoint) -> String {
    endpoint.name.split('_').next().unwrap_or_default().to_lowercase()
}

fn parameter(
    place: ParameterIn,
    name: &str,
    summary: Option<&str>,
    number: bool,
) -> ParameterBuilder {
    let kind = if number { Type::Integer } else { Type::String };
    let required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(summary)
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
}

fn request_body(body: &Body) -> Option<RequestBody> {
    let (media, content) = match body {
        Body::Nothing => return None,
        Body::Component => ("application/wasm", Content::new(None::<RefOr<Schema>>)),
        Body::Json => ("application/json", Content::new(Some(anything()))),
        Body::Bytes => {
            let any = Content::new(None::<RefOr<Schema>>);
            return Some(RequestBodyBuilder::new().content("*/*", any).build());
        }
        Body::Shape(shape) => ("application/json", Content::new(Some(refer(shape)))),
        Body::Lines(shape) => (LINES_TYPE, Content::new(Some(refer(shape)))),
    };
    Some(RequestBodyBuilder::new().content(media, content).required(Some(Required::True)).build())
}

fn response(answer: &Answer, call: bool) -> Response {
    let mut response = ResponseBuilder::new().description(answer.summary);
    match &answer.body {
        None => {}
        Some((media, Some(shape))) => {
            response = response.content(*media, Content::new(Some(refer(shape))));
        }
        Some((media, None)) => response = response.content(*media, Content::new(Some(anything()))),
    }
    if call {
        let text = || ObjectBuilder::new().schema_type(Type::String).build();
        let header = |summary: &str| {
            let mut header = Header::new(text());
            header.description = Some(summary.to_owned());
            header
        };
        response = response
            .header(RELEASE_HEADER, header("What ran: `publisher/name@version`"))
            .header(DIGEST_HEADER, header("What ran: SHA-256 of the component"))
            .header(CALL_HEADER, header("The call, as logs have it"));
    }
    response.build()
}

fn refusal() -> Response {
    ResponseBuilder::new()
        .description("A problem document; `code` says which")
        .content(problem::MEDIA_TYPE, Content::new(Some(refer(&endpoint::PROBLEM))))
        .build()
}

fn refer(shape: &Shape) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name((shape.name)()))
}

/// Any JSON.
fn anything() -> RefOr<Schema> {
    RefOr::T(utoipa::openapi::schema::empty())
}
