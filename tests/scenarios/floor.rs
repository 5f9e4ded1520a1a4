//! A factory whose stations and chips are in software, so that they can ask for anything.

use acceptance::factory::Factory;
use acceptance::failure::Failure;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::register::Register;
use acceptance::soft::{Order, Signed, SoftStation};
use identity::Id;
use identity::envelope::{StationRequest, request_hash};
use identity::leaf::{Body, Leaf, Refuse};
use tempfile::TempDir;

pub(crate) const FIRST: &str = "ota-l2-prov-01";
pub(crate) const SECOND: &str = "ota-l2-prov-02";
pub(crate) const THIRD: &str = "ota-l2-prov-03";

/// A running server with the cameras' grant and lot.
pub(crate) struct Floor {
    pub(crate) factory: Factory,
    pub(crate) order: Order,
    _home: TempDir,
}

impl Floor {
    /// With room for so many cameras.
    pub(crate) fn open(limit: u32) -> Self {
        Self::open_with(limit, |_| ())
    }

    /// As [`Self::open`], with policies altered before anybody reads them.
    pub(crate) fn open_with(limit: u32, alter: impl FnOnce(&Factory)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut factory = Factory::prepare(home.path(), Hsm::of_this_run()).unwrap();
        factory.policies.limit_grant(CAMERAS.grant, limit).unwrap();
        factory.policies.size_lot(CAMERAS.lot, limit).unwrap();
        alter(&factory);
        factory.hold_ceremony().unwrap();
        factory.start_server().unwrap();
        factory.load_grant(CAMERAS.grant).unwrap();
        factory.open_lot(CAMERAS.grant, CAMERAS.lot).unwrap();
        let order = Order::under(&factory, CAMERAS.grant, CAMERAS.lot).unwrap();
        Self {
            factory,
            order,
            _home: home,
        }
    }

    /// Enrolls a station.
    pub(crate) fn station(&self, id: &str) -> SoftStation {
        SoftStation::enroll(&self.factory, id).unwrap()
    }

    /// The server runs, has never panicked, and its log is clean.
    pub(crate) fn assert_sound(&self) {
        self.factory.status().unwrap();
        let said = self.factory.server_log();
        assert!(!said.contains("panicked"), "{said}");
        assert!(said.contains("refused"), "the server's log is not read");
    }
}

/// Names more stations in the cameras' grant, and writes their policies.
pub(crate) fn with_stations(factory: &Factory, more: &[&str]) {
    let mut all = vec![FIRST, SECOND];
    all.extend(more);
    let named = format!("stations = {all:?}");
    let file = factory.policies.file("grants", CAMERAS.grant);
    let old = r#"stations = ["ota-l2-prov-01", "ota-l2-prov-02"]"#;
    factory.policies.edit(&file, old, &named).unwrap();
    for station in more {
        let id = format!("{station:?}");
        let derived = factory
            .policies
            .derive("stations", FIRST, station, &[("id", &id)]);
        derived.unwrap();
    }
}

/// What came of a request that is to be refused, whether as a whole or as its only unit.
pub(crate) fn code<T: std::fmt::Debug>(
    outcome: Result<Result<T, String>, Failure>,
) -> Option<String> {
    match outcome {
        Ok(Ok(_)) => None,
        Ok(Err(code)) => Some(code),
        Err(failure) => Some(failure.to_string()),
    }
}

/// The only news is the record of this refusal.
pub(crate) async fn assert_recorded<R: StationRequest>(
    register: &mut Register,
    name: &str,
    code: &str,
    sent: &Signed,
) {
    let news: Vec<Body> = register
        .news()
        .await
        .unwrap()
        .into_iter()
        .map(body)
        .collect();
    let hash = request_hash::<R>(&sent.envelope);
    let is_it = |refuse: &Refuse| {
        (refuse.reason, refuse.count, refuse.request) == (Id::new(code).unwrap(), 1, Some(hash))
    };
    assert!(
        matches!(news.as_slice(), [Body::Refuse(refuse)] if is_it(refuse)),
        "{name}: {code} is to be the only news, not {news:?}"
    );
}

fn body(leaf: Leaf) -> Body {
    leaf.body
}
