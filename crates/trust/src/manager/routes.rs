//! The routes: who may ask what, and how it is answered. The OpenAPI description is made from the same table.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use ringmail_model::Name;
use ringmail_trust_core::manager::head::SignedHead;
use ringmail_trust_core::manager::{Refusal, Serial, Subject};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{
    AuditAnswer, BeginEnrolAnswer, BeginEnrolRequest, Blob, BundleAnswer, CertificateAnswer,
    ContinuesAnswer, ContinuesRequest, EnrolRequest, ErrorAnswer, EvidenceAnswer, EvidenceRequest,
    Function, FunctionsAnswer, HeadAnswer, Host, HostsAnswer, LeaseAnswer, LeaseRequest,
    NonceAnswer, NonceRequest, PolicyAnswer, PolicyRequest, ReceiptAnswer, RenewRequest,
    StatusAnswer, TokenAnswer, TokenRequest, WordAnswer, WordRequest, array,
};
use super::appraiser::Outcome;
use super::error::ManagerError;
use super::service::{Attested, Certified, Service};
use super::who::{Role, Who};
use crate::limits::MANAGER_REQUEST_BYTES;
use crate::pem;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Even without a certificate.
    Anyone,
    /// Whoever has a certificate of the domain.
    Member,
    /// The agent of the host in question.
    Agent,
    /// A host or function for itself, or the agent for what is on its host.
    Holder,
    /// Auditors and operators.
    Auditor,
    /// Operators.
    Operator,
}

impl Access {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Access::Anyone => "Anybody may ask.",
            Access::Member => "Whoever has a certificate of the domain may ask.",
            Access::Agent => "The agent of the host in question may ask.",
            Access::Holder => {
                "A host or function may ask for itself, and an agent for its host and what is on it."
            }
            Access::Auditor => "Auditors and operators may ask.",
            Access::Operator => "Operators may ask.",
        }
    }

    fn admits(self, role: &Role) -> bool {
        match self {
            Access::Anyone => true,
            Access::Member => *role != Role::Stranger,
            Access::Agent => matches!(role, Role::Agent(_)),
            Access::Holder => matches!(role, Role::Agent(_) | Role::Holder(_)),
            Access::Auditor => matches!(role, Role::Auditor | Role::Operator),
            Access::Operator => matches!(role, Role::Operator),
        }
    }
}

/// One route.
pub(super) struct Route {
    pub(super) method: Method,
    /// With one `{name}` at most.
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) summary: &'static str,
    pub(super) takes: Option<fn(&mut SchemaGenerator) -> Schema>,
    pub(super) gives: fn(&mut SchemaGenerator) -> Schema,
    answer: fn(&Asked<'_>) -> Result<Vec<u8>, ManagerError>,
}

/// A request that found its route.
struct Asked<'a> {
    service: &'a Service,
    who: &'a Who,
    /// What stands in the place of `{name}`.
    name: &'a str,
    query: &'a str,
    body: &'a [u8],
}

fn get<A: Serialize + JsonSchema>(
    path: &'static str,
    access: Access,
    summary: &'static str,
    answer: fn(&Asked<'_>) -> Result<Vec<u8>, ManagerError>,
) -> Route {
    let gives = schema::<A>;
    Route { method: Method::GET, path, access, summary, takes: None, gives, answer }
}

fn post<Q: DeserializeOwned + JsonSchema, A: Serialize + JsonSchema>(
    path: &'static str,
    access: Access,
    summary: &'static str,
    answer: fn(&Asked<'_>) -> Result<Vec<u8>, ManagerError>,
) -> Route {
    let (takes, gives) = (Some(schema::<Q> as fn(&mut _) -> _), schema::<A> as fn(&mut _) -> _);
    Route { method: Method::POST, path, access, summary, takes, gives, answer }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// All of them.
pub(super) fn routes() -> Vec<Route> {
    use Access::{Agent, Anyone, Auditor, Holder, Member, Operator};
    vec![
        get::<BundleAnswer>("/v1/bundle", Anyone, "Whom to believe", bundle),
        post::<BeginEnrolRequest, BeginEnrolAnswer>(
            "/v1/enrol/begin",
            Anyone,
            "Begin to take a host in by its token",
            begin_enrolment,
        ),
        post::<EnrolRequest, CertificateAnswer>(
            "/v1/enrol",
            Anyone,
            "Take a host in that answered; its agent gets a certificate",
            enrol,
        ),
        post::<RenewRequest, CertificateAnswer>(
            "/v1/agent/certificate",
            Agent,
            "Another certificate for the agent",
            renew,
        ),
        post::<NonceRequest, NonceAnswer>(
            "/v1/nonce",
            Agent,
            "A nonce for evidence of the agent's host or of what is on it",
            nonce,
        ),
        post::<EvidenceRequest, EvidenceAnswer>(
            "/v1/host/evidence",
            Agent,
            "Evidence of the agent's host; with a CSR, a certificate for the host",
            host_evidence,
        ),
        post::<EvidenceRequest, EvidenceAnswer>(
            "/v1/functions/{name}/evidence",
            Agent,
            "Evidence of a function on the agent's host, and the CSR for its certificate",
            function_evidence,
        ),
        post::<LeaseRequest, LeaseAnswer>(
            "/v1/lease",
            Holder,
            "The signed word that a host or function is in good standing now",
            lease,
        ),
        get::<HeadAnswer>("/v1/log/head", Member, "The log's signed head", head),
        post::<ContinuesRequest, ContinuesAnswer>(
            "/v1/log/continues",
            Member,
            "The log's head, and the proof that it continues the one that the asker kept",
            continues,
        ),
        get::<ReceiptAnswer>(
            "/v1/log/receipts/{name}",
            Member,
            "What shows that a certificate, named by its serial number, stands in the log",
            receipt,
        ),
        get::<AuditAnswer>(
            "/v1/log/entries",
            Auditor,
            "Entries of the log: `?first=N&count=N`, at most 1000 at once",
            entries,
        ),
        get::<StatusAnswer>("/v1/status", Member, "The manager as a whole", status),
        get::<HostsAnswer>("/v1/hosts", Auditor, "All hosts", hosts),
        post::<WordRequest, WordAnswer>(
            "/v1/hosts/{name}/word",
            Operator,
            "Say something of a host",
            |asked| word(asked, Subject::host),
        ),
        get::<FunctionsAnswer>("/v1/functions", Auditor, "All functions", functions),
        post::<WordRequest, WordAnswer>(
            "/v1/functions/{name}/word",
            Operator,
            "Say something of a function",
            |asked| word(asked, Subject::function),
        ),
        get::<PolicyAnswer>("/v1/policy", Auditor, "The rules", policy),
        post::<PolicyRequest, PolicyAnswer>("/v1/policy", Operator, "Other rules", set_policy),
        post::<TokenRequest, TokenAnswer>(
            "/v1/tokens",
            Operator,
            "A token by which a host enrols, once",
            token,
        ),
    ]
}

/// Reads a request and answers it. What it does blocks: on the disk, and on the processor.
pub(super) async fn answer<B>(
    service: &std::sync::Arc<Service>,
    certificate: Option<Vec<u8>>,
    request: Request<B>,
) -> Response<Full<Bytes>>
where
    B: Body + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let Some((route, name)) = find(&head.method, head.uri.path()) else {
        return refusal(StatusCode::NOT_FOUND, "not-found", "there is no such route", None);
    };
    let service = std::sync::Arc::clone(service);
    let who = match certificate {
        None => Ok(Who::STRANGER),
        Some(certificate) => service.who(&certificate),
    };
    let who = match who {
        Ok(who) => who,
        Err(error) => return failed(&error),
    };
    // Before the body: a stranger's is not read.
    if !route.access.admits(&who.role) {
        let (status, word) = match who.role {
            Role::Stranger => (StatusCode::UNAUTHORIZED, "no-certificate"),
            _ => (StatusCode::FORBIDDEN, "forbidden"),
        };
        return refusal(status, word, route.access.words(), None);
    }
    let body = match Limited::new(body, MANAGER_REQUEST_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "the body is too large",
                None,
            );
        }
        Err(_) => {
            return refusal(StatusCode::BAD_REQUEST, "bad-request", "the body broke off", None);
        }
    };
    let query = head.uri.query().unwrap_or_default().to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let (name, query) = (name.as_str(), query.as_str());
        (route.answer)(&Asked { service: &service, who: &who, name, query, body: &body })
    });
    match done.await {
        Ok(Ok(json)) => reply(StatusCode::OK, json),
        Ok(Err(error)) => failed(&error),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the manager failed", None),
    }
}

fn find(method: &Method, path: &str) -> Option<(Route, String)> {
    routes().into_iter().find_map(|route| {
        if route.method != *method {
            return None;
        }
        let name = match route.path.split_once("{name}") {
            None => (route.path == path).then_some(""),
            Some((before, after)) => path.strip_prefix(before)?.strip_suffix(after),
        }?;
        if name.contains('/') {
            return None;
        }
        let name = name.to_owned();
        Some((route, name))
    })
}

fn reply(status: StatusCode, json: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(json.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn refusal(
    status: StatusCode,
    word: &str,
    message: &str,
    hint: Option<&str>,
) -> Response<Full<Bytes>> {
    let answer = ErrorAnswer {
        error: word.to_owned(),
        message: message.to_owned(),
        hint: hint.map(str::to_owned),
    };
    reply(status, serde_json::to_vec(&answer).unwrap_or_default())
}

fn failed(error: &ManagerError) -> Response<Full<Bytes>> {
    let (status, word) = match error {
        ManagerError::Refused(refusal) => match refusal {
            Refusal::Unknown(_) => (StatusCode::NOT_FOUND, "unknown"),
            Refusal::NotPlaced { .. } => (StatusCode::FORBIDDEN, "not-placed"),
            Refusal::Elsewhere { .. } => (StatusCode::CONFLICT, "elsewhere"),
            Refusal::NotTrusted { .. } => (StatusCode::FORBIDDEN, "not-trusted"),
            Refusal::Stale(_) => (StatusCode::CONFLICT, "stale"),
            Refusal::BadNonce => (StatusCode::CONFLICT, "bad-nonce"),
            Refusal::Overtaken => (StatusCode::CONFLICT, "overtaken"),
            Refusal::AnotherKey(_) => (StatusCode::FORBIDDEN, "another-key"),
            Refusal::NothingToRecover { .. } => (StatusCode::CONFLICT, "nothing-to-recover"),
            Refusal::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many"),
        },
        ManagerError::BadRequest(_)
        | ManagerError::Policy(_)
        | ManagerError::PolicyText(_)
        | ManagerError::Authority(crate::AuthorityError::BadSigningRequest { .. }) => {
            (StatusCode::BAD_REQUEST, "bad-request")
        }
        ManagerError::Evidence(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad-evidence"),
        ManagerError::BadToken(_) => (StatusCode::FORBIDDEN, "bad-token"),
        ManagerError::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
        ManagerError::RolledBack(_) => (StatusCode::SERVICE_UNAVAILABLE, "rolled-back"),
        ManagerError::Broken | ManagerError::Store(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "store-failed")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    if status.is_server_error() {
        tracing::error!(error = %chain(error), "a call failed");
    }
    refusal(status, word, &chain(error), error.hint())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl Asked<'_> {
    fn json<T: DeserializeOwned>(&self) -> Result<T, ManagerError> {
        let bad = |error: serde_json::Error| ManagerError::BadRequest(format!("the body: {error}"));
        serde_json::from_slice(self.body).map_err(bad)
    }

    fn named(&self) -> Result<Name, ManagerError> {
        self.name.parse().map_err(|error| ManagerError::BadRequest(format!("{error}")))
    }

    /// The host of the agent that asks.
    fn host(&self) -> Result<&Name, ManagerError> {
        match &self.who.role {
            Role::Agent(host) => Ok(host),
            _ => Err(ManagerError::Forbidden("only an agent has a host".to_owned())),
        }
    }

    fn number(&self, key: &str, otherwise: u64) -> Result<u64, ManagerError> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let Some((_, value)) = pairs.into_iter().find(|(found, _)| *found == key) else {
            return Ok(otherwise);
        };
        value.parse().map_err(|_| ManagerError::BadRequest(format!("`{key}` is no number")))
    }
}

fn json<T: Serialize>(answer: &T) -> Result<Vec<u8>, ManagerError> {
    serde_json::to_vec(answer).map_err(|error| ManagerError::BadRequest(error.to_string()))
}

fn certificate(certified: &Certified) -> CertificateAnswer {
    let Certified { spiffe_id, serial, chain, not_after_unix_s, receipt, .. } = certified;
    CertificateAnswer {
        spiffe_id: spiffe_id.clone(),
        serial: serial.to_string(),
        chain: pem::chain(chain),
        not_after_unix_s: *not_after_unix_s,
        renew_at_unix_s: certified.renew_at_unix_s(),
        receipt: Blob(receipt.as_ref().map(|receipt| receipt.to_bytes()).unwrap_or_default()),
    }
}

fn csr(text: &str) -> rustls_pki_types::CertificateSigningRequestDer<'static> {
    pem::signing_request(text.as_bytes().to_vec())
}

fn bundle(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let bundle = asked.service.bundle()?;
    json(&BundleAnswer {
        trust_domain: bundle.trust_domain.to_string(),
        roots: pem::chain(&bundle.roots),
        crls: pem::lists(&bundle.crls),
        path_key: Blob(bundle.path_key.to_vec()),
    })
}

fn begin_enrolment(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let BeginEnrolRequest { host, secret, enrolment } = asked.json()?;
    let secret = array(&secret, "the secret")?;
    let challenge = asked.service.begin_enrolment(&host, &secret, &enrolment.0)?;
    json(&BeginEnrolAnswer { challenge })
}

fn enrol(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let request: EnrolRequest = asked.json()?;
    let secret = array(&request.secret, "the secret")?;
    let EnrolRequest { host, answer, csr: text, .. } = &request;
    json(&certificate(&asked.service.enrol(host, &secret, &answer.0, &csr(text))?))
}

fn renew(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let request: RenewRequest = asked.json()?;
    json(&certificate(&asked.service.renew_agent(asked.host()?, &csr(&request.csr))?))
}

fn nonce(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let request: NonceRequest = asked.json()?;
    let (head, consistency) = match &request.head {
        Some(kept) => asked.service.continues(&signed_head(kept)?)?,
        None => (asked.service.head()?, Vec::new()),
    };
    let (nonce, challenge) = asked.service.nonce(asked.host()?)?;
    json(&NonceAnswer {
        nonce: Blob(nonce.to_vec()),
        challenge,
        attest_every_s: asked.service.policy()?.1.attest_every_s,
        head: Blob(head.to_bytes()),
        consistency: Blob(consistency.concat()),
    })
}

fn host_evidence(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let EvidenceRequest { nonce, evidence, csr: text } = asked.json()?;
    let (nonce, request) = (array(&nonce, "the nonce")?, text.as_deref().map(csr));
    let host = asked.host()?;
    evidence_answer(asked.service.host_evidence(host, &nonce, &evidence.0, request.as_ref())?)
}

fn function_evidence(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let EvidenceRequest { nonce, evidence, csr: text } = asked.json()?;
    let missing = || ManagerError::BadRequest("a function's evidence comes with a CSR".to_owned());
    let (nonce, request) = (array(&nonce, "the nonce")?, csr(&text.ok_or_else(missing)?));
    let (function, host) = (asked.named()?, asked.host()?);
    let service = asked.service;
    evidence_answer(service.function_evidence(&function, host, &nonce, &evidence.0, &request)?)
}

fn evidence_answer(attested: Attested) -> Result<Vec<u8>, ManagerError> {
    let Attested { judged, found, certified } = attested;
    let (verdict, reason) = match found.outcome {
        Outcome::Good => ("good", None),
        Outcome::Refused(why) => ("refused", Some(why)),
        Outcome::AskAgain(why) => ("ask-again", Some(why)),
    };
    json(&EvidenceAnswer {
        verdict: verdict.to_owned(),
        reason,
        standing: judged.as_ref().map(|judged| judged.standing.to_string()),
        cause: judged.map(|judged| judged.cause),
        report: found.report,
        certificate: certified.as_ref().map(certificate),
    })
}

fn lease(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let LeaseRequest { nonce, function } = asked.json()?;
    let subject = match (&asked.who.role, function) {
        (Role::Agent(host), None) => Subject::host(host.clone()),
        (Role::Agent(host), Some(function)) => {
            let on_it = asked
                .service
                .functions()?
                .into_iter()
                .find(|known| known.record.name == function && known.record.host == *host);
            let unknown = || Refusal::Unknown(Subject::function(function.clone()));
            on_it.ok_or_else(unknown)?;
            Subject::function(function)
        }
        (Role::Holder(subject), None) => subject.clone(),
        _ => {
            let reason = "a host or function asks for itself".to_owned();
            return Err(ManagerError::Forbidden(reason));
        }
    };
    let lease = asked.service.lease(&subject, array(&nonce, "the nonce")?)?;
    json(&LeaseAnswer { lease: Blob(lease.to_bytes()) })
}

fn head(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    json(&HeadAnswer { head: Blob(asked.service.head()?.to_bytes()) })
}

fn continues(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let ContinuesRequest { head } = asked.json()?;
    let (head, proof) = asked.service.continues(&signed_head(&head)?)?;
    json(&ContinuesAnswer { head: Blob(head.to_bytes()), consistency: Blob(proof.concat()) })
}

fn signed_head(blob: &Blob) -> Result<SignedHead, ManagerError> {
    let none = || ManagerError::BadRequest("the head is no signed head".to_owned());
    SignedHead::from_bytes(&blob.0).ok_or_else(none)
}

fn receipt(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let serial: Serial = asked.name.parse().map_err(ManagerError::BadRequest)?;
    let none = || ManagerError::BadRequest(format!("the log has no certificate {serial}"));
    let receipt = asked.service.receipt(&serial)?.ok_or_else(none)?;
    json(&ReceiptAnswer { receipt: Blob(receipt.to_bytes()) })
}

fn entries(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let (first, count) = (asked.number("first", 0)?, asked.number("count", 1000)?);
    let entries = asked.service.entries(first, count)?.into_iter().map(Blob).collect();
    let head = Blob(asked.service.head()?.to_bytes());
    json(&AuditAnswer { first, entries, head })
}

fn status(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let service = asked.service;
    let (counts, head) = (service.counts()?, service.head()?.head);
    let named = |counts: std::collections::BTreeMap<_, usize>| {
        counts
            .into_iter()
            .map(|(standing, count): (ringmail_trust_core::manager::Standing, _)| {
                (standing.to_string(), count)
            })
            .collect()
    };
    json(&StatusAnswer {
        trust_domain: service.trust_domain().to_string(),
        term: head.term,
        log_size: head.size,
        log_root: head.root.iter().map(|byte| format!("{byte:02x}")).collect(),
        hosts: named(counts.hosts),
        functions: named(counts.functions),
        certificates: counts.certificates,
        revoked: counts.revoked,
        crl_number: service.crl()?.1,
        rolled_back: service.rolled_back()?.map(|rollback| rollback.to_string()),
    })
}

fn hosts(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let host = |view: ringmail_trust_core::manager::HostView| Host {
        name: view.record.name,
        standing: view.record.standing.to_string(),
        cause: view.record.cause,
        since_unix_ms: view.record.since_unix_ms,
        attested_unix_ms: view.attested_unix_ms,
        refusals: view.record.refusals,
        held: view.record.held,
        certificates: view.certificates,
        functions: view.functions,
    };
    json(&HostsAnswer { hosts: asked.service.hosts()?.into_iter().map(host).collect() })
}

fn functions(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let function = |view: ringmail_trust_core::manager::FunctionView| Function {
        name: view.record.name,
        host: view.record.host,
        standing: view.record.standing.to_string(),
        cause: view.record.cause,
        since_unix_ms: view.record.since_unix_ms,
        attested_unix_ms: view.attested_unix_ms,
        refusals: view.record.refusals,
        held: view.record.held,
        certificates: view.certificates,
        takes_part: view.takes_part,
    };
    let functions = asked.service.functions()?.into_iter().map(function).collect();
    json(&FunctionsAnswer { functions })
}

fn word(asked: &Asked<'_>, of: fn(Name) -> Subject) -> Result<Vec<u8>, ManagerError> {
    let WordRequest { word, why } = asked.json()?;
    let subject = of(asked.named()?);
    let standing = asked.service.say(&asked.who.spiffe_id, &subject, word, &why)?;
    json(&WordAnswer { standing: standing.to_string() })
}

fn policy(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let (text, policy) = asked.service.policy()?;
    json(&PolicyAnswer { text, policy })
}

fn set_policy(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let PolicyRequest { text } = asked.json()?;
    asked.service.set_policy(&asked.who.spiffe_id, &text)?;
    policy(asked)
}

fn token(asked: &Asked<'_>) -> Result<Vec<u8>, ManagerError> {
    let TokenRequest { host, minutes } = asked.json()?;
    let lasts = std::time::Duration::from_secs(minutes.saturating_mul(60));
    let token = asked.service.token(&host, lasts)?;
    json(&TokenAnswer { token: token.danger_text() })
}
