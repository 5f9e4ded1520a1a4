//! Commands that show how the running server is, and one that speaks for its clock.

use super::operate::at_server;
use super::prepare::write_new;
use super::{Confirm, Exit, Failure, Refusals, Where, say};
use identity::fault::Fault;
use identity::field::{Openings, Tag};
use proto::admin::{GetStatusResponse, HsmHealth, LotAlarm, RefusalSummary, Stop, StopEnd};

pub(super) fn status(at: &Where) -> Result<Exit, Failure> {
    let status = at_server(at, |mut client| async move { Ok(client.status().await?) })?;
    say(&describe(&status))?;
    Ok(standing(&status))
}

/// What a program learns that reads no words.
fn standing(status: &GetStatusResponse) -> Exit {
    if status.stop.is_some() {
        return Exit::Stopped;
    }
    let is_well = match status.hsm() {
        HsmHealth::Unspecified | HsmHealth::Ready => true,
        HsmHealth::Failing | HsmHealth::Absent => false,
    };
    match is_well && status.set_aside.is_empty() && status.lot_alarms.is_empty() {
        true => Exit::Done,
        false => Exit::Alarm,
    }
}

pub(super) fn refusals(order: &Refusals) -> Result<(), Failure> {
    let count = order.last;
    let found = at_server(&order.at, |mut client| async move {
        Ok(client.refusals(count).await?)
    })?;
    if let Some(directory) = &order.out {
        std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, &error))?;
        for refusal in &found {
            let file = directory.join(format!("{}.openings", refusal.index));
            write_new(&file, &refusal.openings)?;
        }
    }
    say(&found.iter().map(line).collect::<String>())
}

pub(super) fn confirm_clock(order: &Confirm) -> Result<(), Failure> {
    let watch = order.watch.parse::<jiff::Timestamp>().map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("--watch: {error}"),
            "give date, time and offset, such as 2026-11-23T09:30:00+09:00",
        )
    })?;
    let watch_ms = u64::try_from(watch.as_millisecond()).unwrap_or_default();
    let server = at_server(&order.at, |mut client| async move {
        Ok(client.confirm_clock(watch_ms).await?)
    })?;
    say(&format!("clock    {} is believed\n", moment(server)))
}

fn describe(status: &GetStatusResponse) -> String {
    let mut text = format!(
        "version  {}\nlog      {} leaves, root {}\nissuing  {}HSM      {}\n",
        status.version,
        status.log_size,
        hex::encode(&status.root),
        issuing(status),
        health(status.hsm())
    );
    for grant in &status.grants {
        let closed = if grant.closed { ", closed" } else { "" };
        let line = format!(
            "grant    {} {} of {} issued{closed}\n",
            grant.grant_id, grant.issued, grant.limit
        );
        text.push_str(&line);
    }
    for unit in &status.set_aside {
        let line = format!(
            "ALARM    unit {} of {}, leaf {}, is set aside by the signer: {}\n         To do: mend what it names, then `ca-server unit retry`, or `ca-server unit void`\n",
            hex::encode(&unit.request_id),
            unit.station,
            unit.index,
            unit.reason
        );
        text.push_str(&line);
    }
    text.extend(status.lot_alarms.iter().map(alarm));
    text
}

/// A lot that closed with a difference stays here: only people find out which units are too many.
fn alarm(alarm: &LotAlarm) -> String {
    let fault = Fault::LotDiffers.text();
    format!(
        "ALARM    lot {} of {}, leaf {}: {}\n         {}: {}\n         To do: {}\n",
        alarm.lot_id,
        alarm.grant_id,
        alarm.index,
        alarm.differences.join("; "),
        fault.code,
        fault.en,
        fault.hint_en
    )
}

const fn health(hsm: HsmHealth) -> &'static str {
    match hsm {
        HsmHealth::Unspecified => "not asked",
        HsmHealth::Ready => "ready",
        HsmHealth::Failing => "failing: a token refuses, or does not answer in time",
        HsmHealth::Absent => "absent: a token is not there",
    }
}

fn issuing(status: &GetStatusResponse) -> String {
    status.stop.as_ref().map_or_else(
        || format!("yes, {} in flight\n", status.in_flight),
        |stop| stopped(stop, status.in_flight),
    )
}

fn stopped(stop: &Stop, in_flight: u64) -> String {
    let fault = stop.fault.clone().unwrap_or_default();
    let ends = match stop.ends() {
        StopEnd::Itself => "it is tried again every few seconds",
        StopEnd::ClockConfirmed => "until an operator confirms the clock",
        StopEnd::Restart => "the server ends, and reads anew when it is started again",
        StopEnd::Repair | StopEnd::Unspecified => "until somebody finds out what is wrong",
    };
    format!(
        "stopped since {}, {in_flight} in flight\n         {}: {}\n         {}\n         {ends}\n         To do: {}\n",
        moment(stop.since_ms),
        fault.code,
        fault.text_en,
        stop.detail,
        fault.hint_en,
    )
}

/// One refusal: leaf, time, station, code, how many, and the unit if it is known.
fn line(refusal: &RefusalSummary) -> String {
    let mut line = format!(
        "{:>8}  {}  {}  {}  {}",
        refusal.index,
        moment(refusal.time_ms),
        refusal.station,
        refusal.code,
        refusal.count
    );
    let openings = Openings::from_bytes(&refusal.openings).unwrap_or_default();
    let serial = openings
        .value(Tag::DeviceSerial)
        .map(String::from_utf8_lossy);
    let uid = openings.value(Tag::ChipUid).map(hex::encode);
    let named = [("serial", serial), ("chip", uid.map(Into::into))];
    for (name, value) in named {
        line.extend(value.map(|value| format!("  {name} {value}")));
    }
    line + "\n"
}

pub(super) fn moment(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{ms} ms"), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::admin::SetAside;

    #[test]
    fn an_alarm_and_a_stop_are_told_without_words() {
        let well = GetStatusResponse::default();
        assert_eq!(standing(&well), Exit::Done);
        let aside = GetStatusResponse {
            set_aside: vec![SetAside::default()],
            ..well.clone()
        };
        assert_eq!(standing(&aside), Exit::Alarm);
        let lot = GetStatusResponse {
            lot_alarms: vec![LotAlarm::default()],
            ..well.clone()
        };
        assert_eq!(standing(&lot), Exit::Alarm);
        for (hsm, wanted) in [
            (HsmHealth::Ready, Exit::Done),
            (HsmHealth::Failing, Exit::Alarm),
            (HsmHealth::Absent, Exit::Alarm),
        ] {
            let mut status = well.clone();
            status.set_hsm(hsm);
            assert_eq!(standing(&status), wanted, "{hsm:?}");
        }
        let stopped = GetStatusResponse {
            stop: Some(Stop::default()),
            ..aside
        };
        assert_eq!(standing(&stopped), Exit::Stopped);
    }
}
