include!(concat!(env!("OUT_DIR"), "/rpc.rs"));

impl Rpc {
    /// The RPC with this path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rpc| rpc.path() == path)
    }

    /// Full name of the service, for instance `koseki.factory.v1.FactoryService`.
    #[must_use]
    pub fn service(self) -> &'static str {
        self.path().split('/').nth(1).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Rpc;
    use prost::Message as _;
    use tonic_prost::prost;

    /// Read from the descriptor set with types of our own: only names and numbers matter here
    /// (google/protobuf/descriptor.proto).
    #[derive(Clone, PartialEq, prost::Message)]
    struct FileSet {
        #[prost(message, repeated, tag = "1")]
        file: Vec<File>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct File {
        #[prost(string, tag = "2")]
        package: String,
        #[prost(message, repeated, tag = "6")]
        service: Vec<Service>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Service {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, repeated, tag = "2")]
        method: Vec<Method>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Method {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bool, tag = "6")]
        server_streaming: bool,
    }

    /// The server holds each of their answers until it is read, and a stream would be waited for to its end. The operator's
    /// socket holds none.
    #[test]
    fn services_on_the_network_answer_with_one_message() {
        let mut streams = Vec::new();
        for file in FileSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap().file {
            for service in file.service {
                let streaming = service.method.iter().filter(|it| it.server_streaming);
                let path = |method: &Method| format!("{}/{}", service.name, method.name);
                streams.extend(streaming.map(path));
            }
        }
        assert_eq!(streams, ["AdminService/MakeBackup"]);
    }

    #[test]
    fn every_rpc_of_the_descriptor_set_has_a_variant() {
        let mut paths = Vec::new();
        for file in FileSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap().file {
            for service in file.service {
                let path =
                    |method: &Method| format!("/{}.{}/{}", file.package, service.name, method.name);
                paths.extend(service.method.iter().map(path));
            }
        }
        assert_eq!(paths, Rpc::ALL.map(|rpc| rpc.path().to_owned()));
        assert_eq!(paths.len(), 25);
    }

    #[test]
    fn a_path_leads_back_to_its_rpc() {
        assert_eq!(
            Rpc::FactoryProvision.path(),
            "/koseki.factory.v1.FactoryService/Provision"
        );
        assert_eq!(
            Rpc::AdminLoadGrant.service(),
            "koseki.admin.v1.AdminService"
        );
        assert!(
            Rpc::ALL
                .into_iter()
                .all(|rpc| Rpc::from_path(rpc.path()) == Some(rpc))
        );
        assert_eq!(
            Rpc::from_path("/koseki.admin.v1.AdminService/Shutdown"),
            None
        );
    }

    #[test]
    fn the_services_are_named_as_their_paths_say() {
        use tonic::server::NamedService as _;
        type Audit = crate::audit::AuditServiceServer<()>;
        assert_eq!(Audit::NAME, Rpc::AuditGetEntry.service());
    }
}
