/**
 * Shapes of NDJSON for other systems, written by PostgreSQL. Each of them holds everything that the JSON of a change holds. An attribute that a
 * shape does not know, and that its standard leaves no other place for, is under `unmapped` (OCSF) or `threadline` (Debezium).
 */
import type { Fragment } from "@effect/sql/Statement"
import type { Storage } from "../record/storage.js"
import { beforeImage, visibleBefore } from "../record/visible.js"
import { changeDocument, restOfDocument } from "./document.js"
import type { Shape } from "./formats.js"

/** The version of the standard that a shape follows. */
export const shapeVersions: Readonly<Record<Shape, string>> = { ocsf: "1.6.0", cloudevents: "1.0", debezium: "2.6" }

/**
 * What shapes need of the change `c` beside its columns: when it was captured, since 1970, and the row before it. An update that was written by
 * hand may have no row.
 */
export const shapeColumns = (storage: Storage): Fragment => {
  const { sql } = storage
  const visible = visibleBefore(storage)
  const image = beforeImage(sql, "c")
  return sql`
    pg_catalog.floor(extract(epoch from c.captured_at)::numeric * 1000)::text as ms,
    pg_catalog.floor(extract(epoch from c.captured_at)::numeric * 1000000)::text as us,
    case
      ${visible === undefined ? sql`` : sql`when not ${visible} then null`}
      when c.op <> 'update' then ${image}
      when pg_catalog.jsonb_typeof(c.data_after) = 'object' and coalesce(pg_catalog.jsonb_typeof(c.changed_from), 'object') = 'object' then ${image}
    end::text as before`
}

const json = (expression: string): string => `pg_catalog.to_json(${expression})::text`

/** A member of an object as an SQL expression: null if the value is null. */
const member = (key: string, expression: string): string => `'"${key}":' || ${json(expression)}`

/** An object of the members that are not null. */
const object = (...members: ReadonlyArray<string>): string =>
  `pg_catalog.concat('{', pg_catalog.concat_ws(',', ${members.join(", ")}), '}')`

/** The name of the database, read once per statement. */
const database = "(select current_database()::text)"

const table = "pg_catalog.concat(pg_catalog.quote_ident(s.table_schema), '.', pg_catalog.quote_ident(s.table_name))"

const activity = (id: number, name: string): string =>
  `"activity_id":${id},"activity_name":"${name}","type_uid":${300_400 + id},"type_name":"Entity Management: ${name}"`

/** A baseline is no activity of the class: nobody did anything to the row. */
const activities = `case s.op
      when 'insert' then '${activity(1, "Create")}'
      when 'update' then '${activity(3, "Update")}'
      when 'delete' then '${activity(4, "Delete")}'
      when 'truncate' then '${activity(4, "Delete")}'
      else '"activity_id":99,"activity_name":"Baseline","type_uid":300499,"type_name":"Entity Management: Other"'
    end`

const classification = [
  `"category_uid":3,"category_name":"Identity & Access Management","class_uid":3004,"class_name":"Entity Management"`,
  `"severity_id":1,"severity":"Informational","status_id":1,"status":"Success"`
].join(",")

const typeOfUser = `case s.person ->> 'type'::text
      when 'user' then '"type_id":1,"type":"User"'
      when 'admin' then '"type_id":2,"type":"Admin"'
      when 'system' then '"type_id":3,"type":"System"'
      when 'service_account' then '"type_id":4,"type":"Service"'
      else '"type_id":99,' || ${member("type", "s.person ->> 'type'::text")}
    end`

const user = `case when s.person is not null then '"user":' || ${object(
  member("uid", "s.person ->> 'id'::text"),
  member(
    "name",
    "coalesce(nullif(s.person ->> 'label'::text, ''), nullif(s.person ->> 'id'::text, ''), s.person ->> 'type'::text)"
  ),
  typeOfUser
)} end`

const application = "nullif(s.t_application_name, '')"

const entity = (key: string, data: string): string =>
  object(
    member("name", `${table} || coalesce(' ' || ${key}, '')`),
    member("type", table),
    `'"type_id":99'`,
    member("uid", key),
    `'"data":' || ${data}`
  )

const ocsf = ({ sql }: Storage): Fragment => sql`pg_catalog.concat(
    '{', ${sql.literal(activities)}, ',${sql.literal(classification)},"time":', s.ms,
    ',"message":', ${sql.literal(json(`pg_catalog.concat(s.op, ' ', ${table}, ' ' || s.row_key)`))},
    ${sql.literal(`',' || ${member("comment", "s.a_name")}`)},
    ',"metadata":', ${sql.literal(
      object(
        `'"version":"${shapeVersions.ocsf}","product":{"name":"Threadline","vendor_name":"Threadline"},"log_name":"audit_changes"'`,
        member("uid", "s.id"),
        member("event_code", "s.op"),
        member("original_time", "s.captured_at"),
        member("correlation_uid", "nullif(s.t_correlation_id, '')")
      )
    )},
    case
      when s.person is not null or ${sql.literal(application)} is not null
      then pg_catalog.concat(',"actor":', ${sql.literal(object(user, member("app_name", application)))})
    end,
    ',"src_endpoint":{' || ${sql.literal(member("ip", "s.t_remote_ip"))} || '}',
    ',"entity":', ${sql.literal(entity("coalesce(s.previous_row_key, s.row_key)", "s.before"))},
    case
      when s.op not in ('delete', 'truncate')
      then pg_catalog.concat(',"entity_result":', ${sql.literal(entity("s.row_key", "s.data_after"))})
    end,
    ',"unmapped":', ${restOfDocument({ sql }, ["rowPk", "previousRowKey", "partitionName", "changedFields", "details"])}, '}'
  )`

/** Text of CloudEvents has no control characters. A key may have them. */
const plainText = (expression: string): string =>
  `pg_catalog.regexp_replace(${expression}, case
        when getdatabaseencoding() = 'UTF8' then E'[\\\\u0001-\\\\u001f\\\\u007f-\\\\u009f]' else E'[\\\\u0001-\\\\u001f\\\\u007f]'
      end, ' ', 'g')`

/** The name of the database as a part of a URI, by its bytes. */
const source = `(
      select '/threadline/' || pg_catalog.string_agg(
        case
          when b.code between 48 and 57 or b.code between 65 and 90 or b.code between 97 and 122 or b.code in (45, 46, 95, 126)
          then pg_catalog.chr(b.code) else '%' || pg_catalog.upper(pg_catalog.lpad(pg_catalog.to_hex(b.code), 2, '0'))
        end, '' order by b.at
      )
      from (
        select i.at, pg_catalog.get_byte(d.name, i.at) as code
        from (select pg_catalog.convert_to(current_database()::text, getdatabaseencoding()) as name) d, pg_catalog.generate_series(0, pg_catalog.length(d.name) - 1) i(at)
      ) b
    )`

const subject = plainText(`${table} || coalesce('/' || s.row_key, '')`)

const cloudEvents = (storage: Storage): Fragment => {
  const { sql } = storage
  return sql`pg_catalog.concat(
    '{"specversion":"1.0","id":"', s.id, '","source":"', ${sql.literal(source)},
    '","type":', ${sql.literal(json("'threadline.change.' || s.op"))},
    ',"time":"', s.captured_at, '","subject":', ${sql.literal(json(subject))},
    ',"partitionkey":', ${sql.literal(json(subject))},
    ',' || ${sql.literal(member("correlationid", `nullif(${plainText("s.t_correlation_id")}, '')`))},
    ',"datacontenttype":"application/json","data":', ${changeDocument(storage, "")}, '}'
  )`
}

/** A TRUNCATE that was captured by its rows deleted each of them. */
const operation = `case s.op
      when 'insert' then 'c'
      when 'update' then 'u'
      when 'delete' then 'd'
      when 'truncate' then case when s.row_key is null and s.before is null then 't' else 'd' end
      else 'r'
    end`

const debezium = ({ sql }: Storage): Fragment => {
  const times = sql`'"ts_ms":', s.ms, ',"ts_us":', s.us, ',"ts_ns":', s.us, '000'`
  const name = sql.literal(json(database))
  return sql`pg_catalog.concat(
    '{"before":', coalesce(s.before, 'null'), ',"after":', coalesce(s.data_after, 'null'),
    ',"source":{"version":"1","connector":"threadline","name":', ${name}, ',"db":', ${name},
    ',"schema":', ${sql.literal(json("s.table_schema"))}, ',"table":', ${sql.literal(json("s.table_name"))},
    ',"snapshot":"', case when s.op = 'baseline' then 'true' else 'false' end,
    '","txId":', s.transaction_id, ',"lsn":null,"xmin":null,', ${times}, '},"transaction":null,"op":"', ${sql.literal(operation)},
    '",', ${times}, ',"threadline":',
    ${restOfDocument({ sql }, [
      "id",
      "transactionId",
      "capturedAt",
      "partitionName",
      "op",
      "rowPk",
      "rowKey",
      "previousRowKey",
      "changedFields",
      "details"
    ])}, '}'
  )`
}

const shapes: Readonly<Record<Shape, (storage: Storage) => Fragment>> = { ocsf, cloudevents: cloudEvents, debezium }

/** The JSON of the change `s` in a shape. */
export const shapedDocument = (storage: Storage, shape: Shape): Fragment => shapes[shape](storage)
