//! What of a token is in memory.

use core::fmt;
use cryptoki_sys::{CK_OBJECT_HANDLE, CKA_PRIVATE};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::file::{Failures, Head, Objects, TokenFile};
use super::pin::Role;
use super::seal::Key;
use super::store::Stamp;
use crate::pkcs11::object::{Object, Uid};

/// A token in memory; empty until its file is read.
#[derive(Default)]
pub(super) struct State {
    pub(super) known: Option<(Head, Failures)>,
    pub(super) stamp: Option<Stamp>,
    pub(super) login: Option<(Role, Key)>,
    pub(super) objects: BTreeMap<CK_OBJECT_HANDLE, Arc<Object>>,
}

impl fmt::Debug for State {
    /// Neither the token key nor what is in objects is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("stamp", &self.stamp)
            .field("login", &self.login.as_ref().map(|(role, _)| role))
            .field("objects", &self.objects.len())
            .finish_non_exhaustive()
    }
}

impl State {
    /// The token key, while someone is logged in.
    pub(super) fn key(&self) -> Option<Key> {
        self.login.as_ref().map(|(_, key)| key.clone())
    }

    /// Takes up a state of the file. An object that is as it was keeps its handle and its ready
    /// key; one that changed keeps its handle.
    pub(super) fn adopt(
        &mut self,
        file: &TokenFile,
        stamp: Stamp,
        objects: &Objects,
        handles: &AtomicU64,
    ) {
        let mut before: BTreeMap<Uid, Arc<Object>> = BTreeMap::new();
        for object in self.objects.values().filter(|one| one.session.is_none()) {
            before.insert(object.uid, Arc::clone(object));
        }
        self.objects.retain(|_, object| object.session.is_some());
        // A logout may have come between reading and now: then only the open face is taken up.
        let objects = if self.login.is_some() {
            objects
        } else {
            &file.head.open
        };
        for (uid, attributes) in objects {
            let object = match before.remove(uid) {
                Some(same) if same.attributes == *attributes => same,
                Some(changed) => Arc::new(changed.with(attributes.clone())),
                None => {
                    let handle = handles.fetch_add(1, Ordering::Relaxed);
                    Arc::new(Object::new(*uid, handle, None, attributes.clone()))
                }
            };
            self.objects.insert(object.handle, object);
        }
        self.known = Some((file.head.clone(), file.failures));
        self.stamp = Some(stamp);
    }

    /// Puts a session object in, or in the place of the one with its handle.
    pub(super) fn insert(&mut self, object: Object) {
        self.objects.insert(object.handle, Arc::new(object));
    }

    /// The handle of an object by its name in the file.
    pub(super) fn handle_of(&self, uid: &Uid) -> Option<CK_OBJECT_HANDLE> {
        self.objects
            .values()
            .find(|object| object.uid == *uid)
            .map(|object| object.handle)
    }

    /// Whether whoever is logged in may see it: private objects are the user's alone.
    pub(super) fn shows(&self, object: &Object) -> bool {
        !object.attributes.flag(CKA_PRIVATE) || matches!(self.login, Some((Role::User, _)))
    }

    /// After a logout: private objects go, session objects among them; of the rest only what the
    /// file shows to everybody stays.
    pub(super) fn hide_private(&mut self) {
        let open = match &self.known {
            Some((head, _)) => head.open.clone(),
            None => Objects::new(),
        };
        self.objects
            .retain(|_, object| !object.attributes.flag(CKA_PRIVATE));
        for object in self.objects.values_mut() {
            if let Some(face) = open.get(&object.uid).filter(|_| object.session.is_none()) {
                *object = Arc::new(object.with(face.clone()));
            }
        }
    }
}
