//! The schema as clients depend on it, in one golden file: services, methods, messages, field
//! numbers and types. Additions change `schema.txt`; a changed or lost line breaks clients.

const FILES: [&str; 10] = [
    "mvccpb/kv.proto",
    "etcdserverpb/header.proto",
    "etcdserverpb/kv.proto",
    "etcdserverpb/watch.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/maintenance.proto",
    "v3lockpb/lock.proto",
    "v3electionpb/election.proto",
    "grpc/health.proto",
];

macro_rules! write_enums {
    ($out:expr, $path:expr, $enums:expr) => {
        for one in $enums {
            for value in &one.value {
                let (name, number) = (value.name(), value.number());
                $out.push(format!("{}.{} {name} = {number}", $path, one.name()));
            }
        }
    };
}

fn schema() -> Vec<String> {
    let mut out = Vec::new();
    for file in protox::compile(FILES, ["proto"]).expect("the schema compiles").file {
        let package = file.package();
        for service in &file.service {
            for method in &service.method {
                let stream = |streams| if streams { "stream " } else { "" };
                out.push(format!(
                    "/{package}.{}/{} {}{} -> {}{}",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type(),
                ));
            }
        }
        write_enums!(out, package, &file.enum_type);
        for message in &file.message_type {
            let path = format!("{package}.{}", message.name());
            write_enums!(out, path, &message.enum_type);
            for field in &message.field {
                let label = format!("{:?}", field.label()).to_lowercase();
                let kind = format!("{:?}", field.r#type()).to_lowercase();
                let oneof = field.oneof_index.map_or("", |_| " oneof");
                let (name, number, of) = (field.name(), field.number(), field.type_name());
                let line = format!("{path} {name} = {number} {label} {kind}{oneof} {of}");
                out.push(line.trim_end().to_owned());
            }
        }
    }
    out
}

#[test]
fn the_schema_is_the_one_that_clients_were_built_for() {
    let golden = include_str!("schema.txt");
    let now = schema();
    for (number, (was, is)) in golden.lines().zip(&now).enumerate() {
        assert_eq!(is, was, "line {} of schema.txt", number + 1);
    }
    assert_eq!(now.len(), golden.lines().count());
}
