//! Objects as tables and as bare metadata.

use serde_json::{Value, json};
use wk_api::table::{self, Include};
use wk_api::{FieldReason, Kind, Object, Status};
use wk_base::time::Timestamp;

use crate::negotiate::Shape;
use crate::query::{Query, invalid_option};

/// The `includeObject` parameter.
pub(crate) fn include(query: &Query) -> Result<Include, Status> {
    match query.text("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => {
            let message = format!("Unsupported value: {other:?}: supported values: \"Metadata\", \"None\", \"Object\"");
            Err(invalid_option("TableOptions", "includeObject", FieldReason::NotSupported, message))
        }
    }
}

/// How single objects are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Show {
    pub shape: Shape,
    pub include: Include,
    pub now: Timestamp,
}

impl Show {
    /// One object.
    pub(crate) fn one(self, kind: &Kind, object: &Object) -> Value {
        match self.shape {
            Shape::Full => object.0.clone(),
            Shape::Metadata => table::metadata(kind, object),
            Shape::Table => {
                let metadata = json!({ "resourceVersion": object.resource_version() });
                table::table(kind, &[object], self.now, self.include, metadata, true)
            }
        }
    }
}

/// The `PartialObjectMetadataList` of these objects.
pub(crate) fn metadata_list<'a>(kind: &Kind, objects: impl Iterator<Item = &'a Object>, list: &Value) -> Value {
    let items: Vec<Value> = objects.map(|object| table::metadata(kind, object)).collect();
    json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": list, "items": items })
}
