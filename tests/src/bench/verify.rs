use super::GRANT;
use super::client::{Crew, provision};
use super::load::repeated;
use super::report::Row;
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use identity::Timestamp;
use koseki_verify::{Trust, verify_device};

/// Certificate and proof verified offline, on one thread.
pub(super) async fn rows(factory: &Factory, crew: &Crew) -> Outcome<Vec<Row>> {
    let trust = factory.path("bench-trust");
    factory.publish_trust(&trust, &[GRANT])?;
    let trust = Trust::load(&trust).map_err(Failure::new)?;
    let work = crew.requests(1, 1).await?;
    let issued = provision(&crew.station(0), &work[0]).await?;
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).map_err(Failure::new)?;
    let times = repeated(|| {
        let issued = &issued[0];
        let verdict = verify_device(
            &issued.certificate,
            &issued.tlog_proof,
            &trust,
            Timestamp(now),
        );
        require(verdict.accepted, "a good device is not accepted")
    })?;
    Ok(vec![times.row("verify", "-", 1)])
}
