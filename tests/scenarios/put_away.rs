//! The root's token is put away after the ceremony: nothing that goes on every day needs it.

use crate::floor::{FIRST, Floor};
use acceptance::factory::Factory;
use acceptance::lines::CAMERAS;
use acceptance::soft::SoftChip;
use identity::envelope::Purpose;
use std::fs;
use std::path::{Path, PathBuf};

#[tokio::test]
async fn everything_goes_on_without_the_roots_token() {
    let mut floor = Floor::open_with(10, |_| ());
    floor.factory.stop_server().unwrap();
    let safe = floor.factory.path("safe");
    fs::create_dir(&safe).unwrap();
    let away = put_away(&floor.factory, "koseki-root", &safe);
    assert!(!away.is_empty(), "no token is the root's");
    assert_eq!(
        put_away(&floor.factory, "koseki-root", &safe),
        [] as [PathBuf; 0]
    );
    // The server starts, enrols a station, and issues and confirms a unit.
    floor.factory.start_server().unwrap();
    let station = floor.station(FIRST);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let draft = station.draft(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let envelope = draft.await.unwrap();
    let issued = station.issue(&station.seal(&envelope).unwrap()).await;
    let issued = issued.unwrap().unwrap();
    let request = envelope.units[0].request;
    let confirm = station.confirmation(&chip, request, &issued).unwrap();
    let confirm = station.seal(&confirm).unwrap();
    assert!(station.confirm(&confirm).await.unwrap().is_ok());
    assert!(floor.factory.status().unwrap().contains(" 1 of 10 "));
    // The test would notice a token that is needed.
    floor.factory.stop_server().unwrap();
    assert!(!put_away(&floor.factory, "koseki-issuing", &safe).is_empty());
    let failure = floor.factory.start_server().unwrap_err();
    assert!(failure.to_string().contains("koseki-issuing"), "{failure}");
}

/// Moves every file or directory of a token out of the module's reach; both modules write the label in the open.
fn put_away(factory: &Factory, label: &str, safe: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(factory.path("hsm/tokens")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let tokens: Vec<PathBuf> = paths.filter(|path| holds(path, label.as_bytes())).collect();
    for token in &tokens {
        fs::rename(token, safe.join(token.file_name().unwrap())).unwrap();
    }
    tokens
}

fn holds(path: &Path, label: &[u8]) -> bool {
    if path.is_dir() {
        let mut entries = fs::read_dir(path).unwrap();
        return entries.any(|entry| holds(&entry.unwrap().path(), label));
    }
    // A label is padded with blanks: no other token's begins with this one's.
    let bytes = fs::read(path).unwrap();
    bytes.windows(label.len()).any(|window| window == label)
}
