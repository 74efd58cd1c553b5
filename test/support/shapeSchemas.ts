/**
 * What the standards say of the shapes, as JSON Schema: nothing that a standard does not know, everything that it requires, and names that
 * go with numbers. They are written after what the standards publish, and cover what an export uses of it.
 */
import type { AnySchemaObject } from "ajv"

const text = { type: "string" } as const

const words = { type: "string", minLength: 1 } as const

/** Objects of these attributes and no others. */
const only = (properties: Readonly<Record<string, object>>, required: ReadonlyArray<string> = []) => ({
  type: "object",
  properties,
  required,
  additionalProperties: false
})

const someOf = (...attributes: ReadonlyArray<string>) => ({
  anyOf: attributes.map((attribute) => ({ required: [attribute] }))
})

/** The attributes of a number and of its name, which are one of these. 99 has a name of the producer. */
const oneOfNames = (number: string, name: string, names: Readonly<Record<number, string>>) => ({
  oneOf: [
    ...Object.entries(names).map(([id, caption]) => ({
      properties: { [number]: { const: Number(id) }, [name]: { const: caption } }
    })),
    { properties: { [number]: { const: 99 }, [name]: words } }
  ]
})

const userTypes = { 0: "Unknown", 1: "User", 2: "Admin", 3: "System", 4: "Service" }

const activities = { 0: "Unknown", 1: "Create", 2: "Read", 3: "Update", 4: "Delete" }

const typeNames = Object.fromEntries(
  Object.entries({ ...activities, 99: "Other" }).map(([id, name]) => [
    300_400 + Number(id),
    `Entity Management: ${name}`
  ])
)

const managedEntity = {
  ...only({ name: words, uid: words, type: words, type_id: { const: 99 }, data: { type: "object" }, version: words }),
  ...someOf("name", "uid")
}

/** After `events/iam/entity_management.json`, what it extends, and its objects and types in github.com/ocsf/ocsf-schema. */
export const ocsf: AnySchemaObject = {
  ...only(
    {
      activity_id: { type: "integer" },
      activity_name: words,
      category_uid: { const: 3 },
      category_name: { const: "Identity & Access Management" },
      class_uid: { const: 3004 },
      class_name: { const: "Entity Management" },
      type_uid: { type: "integer" },
      type_name: words,
      severity_id: { const: 1 },
      severity: { const: "Informational" },
      status_id: { const: 1 },
      status: { const: "Success" },
      // Milliseconds since 1970.
      time: { type: "integer" },
      message: text,
      comment: text,
      metadata: only(
        {
          version: { type: "string", pattern: String.raw`^\d+\.\d+\.\d+$` },
          product: {
            ...only({ name: words, uid: words, vendor_name: words, version: words }),
            ...someOf("name", "uid")
          },
          log_name: words,
          uid: words,
          event_code: words,
          original_time: words,
          correlation_uid: words
        },
        ["product", "version"]
      ),
      actor: {
        ...only({
          user: {
            ...only({ name: words, uid: words, type: words, type_id: { type: "integer" } }),
            allOf: [someOf("name", "uid"), oneOfNames("type_id", "type", userTypes)]
          },
          app_name: words
        }),
        ...someOf("user", "app_name")
      },
      src_endpoint: only(
        {
          ip: {
            anyOf: [
              { type: "string", format: "ipv4" },
              { type: "string", format: "ipv6" }
            ]
          }
        },
        ["ip"]
      ),
      entity: managedEntity,
      entity_result: managedEntity,
      unmapped: { type: "object" }
    },
    ["activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata", "entity"]
  ),
  allOf: [
    oneOfNames("activity_id", "activity_name", activities),
    oneOfNames("type_uid", "type_name", typeNames),
    {
      oneOf: [0, 1, 2, 3, 4, 99].map((id) => ({
        properties: { activity_id: { const: id }, type_uid: { const: 300_400 + id } }
      }))
    }
  ]
}

/** After `cloudevents/cloudevents.json` and the rules of names and extensions in github.com/cloudevents/spec, version 1.0. */
export const cloudevents: AnySchemaObject = {
  type: "object",
  properties: {
    specversion: { const: "1.0" },
    id: words,
    source: { type: "string", minLength: 1, format: "uri-reference" },
    type: words,
    time: { type: "string", format: "date-time" },
    subject: words,
    datacontenttype: { const: "application/json" },
    data: { type: "object" }
  },
  required: ["specversion", "id", "source", "type"],
  // An extension has a name of lower-case letters and digits, and is a string without control characters, or a number or a boolean.
  propertyNames: { pattern: "^[a-z0-9]{1,20}$" },
  additionalProperties: { type: "string", minLength: 1, pattern: String.raw`^\P{Cc}*$` }
}

const maybeRow = { type: ["object", "null"] } as const

const instants = { ts_ms: { type: "integer" }, ts_us: { type: "integer" }, ts_ns: { type: "integer" } }

/** After the documentation of Debezium's connector for PostgreSQL: the value of a change event, and its source. */
export const debezium: AnySchemaObject = {
  ...only(
    {
      before: maybeRow,
      after: maybeRow,
      op: { enum: ["c", "u", "d", "r", "t"] },
      ...instants,
      transaction: { type: "null" },
      source: only(
        {
          version: words,
          connector: words,
          name: words,
          db: words,
          schema: words,
          table: words,
          snapshot: { enum: ["true", "first", "last", "last_in_data_collection", "incremental", "false"] },
          txId: { type: ["integer", "null"] },
          lsn: { type: ["integer", "null"] },
          xmin: { type: ["integer", "null"] },
          ...instants
        },
        ["version", "connector", "name", "ts_ms", "snapshot", "db", "schema", "table"]
      ),
      // An addition of ours.
      threadline: { type: "object" }
    },
    ["before", "after", "source", "op", "ts_ms"]
  ),
  oneOf: [
    { properties: { op: { enum: ["c", "r"] }, before: { type: "null" } } },
    { properties: { op: { const: "u" } } },
    { properties: { op: { const: "d" }, after: { type: "null" } } },
    { properties: { op: { const: "t" }, before: { type: "null" }, after: { type: "null" } } }
  ]
}
