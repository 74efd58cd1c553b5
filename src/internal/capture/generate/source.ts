/**
 * Generates the trigger functions of one audited table, as SQL text.
 */
import { createHash } from "node:crypto"
import { identifier, literal, qualified, textArray } from "../../sql/sqlText.js"

/** A session setting that changes the text of some types; pinned only where a table has such a type. */
export type Pin =
  | "timezone"
  | "datestyle"
  | "intervalstyle"
  | "bytea_output"
  | "extra_float_digits"
  | "lc_monetary"
  | "quote_all_identifiers"

/**
 * How old and new value of a column are compared: as the text of the image; as jsonb text where the image may hold
 * values of several JSON types (`jsonb`, and types unknown); as the exact text where the image loses some of it (`json`).
 */
export type Comparison = "text" | "jsonb" | "json"

/** How a key column's text becomes canonical, so that equal keys have equal texts. */
export type KeyText = "text" | "numeric" | "interval" | "citext" | "bpchar"

export interface ColumnShape {
  readonly name: string
  readonly attnum: number
  /** As `format_type` prints it with an empty search path: `character varying(20)`, `public.citext`. */
  readonly type: string
  readonly comparison: Comparison
  readonly pins: ReadonlyArray<Pin>
  /** A generated column that is not stored (PostgreSQL 18): triggers never see its value. */
  readonly virtual: boolean
}

export interface KeyColumn {
  readonly name: string
  readonly attnum: number
  readonly type: string
  readonly text: KeyText
}

export interface TableShape {
  readonly schema: string
  readonly name: string
  readonly columns: ReadonlyArray<ColumnShape>
  /** In key order; empty where the table has no key. */
  readonly key: ReadonlyArray<KeyColumn>
  readonly mode: "statement" | "row"
  readonly always: boolean
  readonly onTruncate: "event" | "rows" | "refuse"
  readonly excluded: ReadonlyArray<string>
  readonly masked: ReadonlyArray<string>
}

/** The root table itself, or a partition of it at any depth. */
export interface RelationShape {
  readonly schema: string
  readonly name: string
  readonly position: "root" | "partition"
  /** Foreign tables and partitioned parents differ in the triggers they accept. */
  readonly kind: "table" | "partitioned" | "foreign"
}

export interface GeneratedObject {
  readonly name: string
  /** One statement without a final semicolon. */
  readonly sql: string
}

export interface GeneratedSource {
  /** `create or replace function`, and the revoke that follows it. */
  readonly functions: ReadonlyArray<GeneratedObject>
  /** `create or replace trigger` statements for one relation (and `alter table ... enable always trigger`). */
  readonly triggers: (relation: RelationShape) => ReadonlyArray<GeneratedObject>
  /** SHA-256 of everything above, in hexadecimal: the deployed policy keeps it. */
  readonly sourceHash: string
}

export const generatorVersion = 1

const pins: Record<Pin, string> = {
  timezone: "set timezone = 'UTC'",
  datestyle: "set datestyle = 'ISO, YMD'",
  intervalstyle: "set intervalstyle = 'postgres'",
  bytea_output: "set bytea_output = 'hex'",
  extra_float_digits: "set extra_float_digits = 1",
  lc_monetary: "set lc_monetary = 'C'",
  quote_all_identifiers: "set quote_all_identifiers = off"
}

/** What every piece of generated code shares: constants of one table, as SQL text. */
interface Parts {
  readonly storageSchema: string
  readonly shape: TableShape
  readonly suffix: string
  readonly policy: string
  readonly columns: ReadonlyArray<ColumnShape>
  readonly known: string
  /** Names without which an image cannot be keyed or redacted as configured. */
  readonly needed: string
  /** json loses some of its text in an image: such tables always take the general way. */
  readonly general: boolean
  /** True while the redacted columns have the names they had; empty where nothing is redacted. */
  readonly inPlace: string
}

/**
 * A name that is readable and yet never collides: the table's name as far as it fits, and a hash of schema and name.
 */
const suffixOf = (shape: TableShape): string => {
  const hash = createHash("sha256").update(`${shape.schema}\0${shape.name}`).digest("hex").slice(0, 10)
  const readable = shape.name.replaceAll(/[^A-Za-z0-9_]/g, "_").slice(0, 34)
  return `${readable}_${hash}`
}

const partsOf = (storageSchema: string, shape: TableShape): Parts => {
  const columns = shape.columns.filter((column) => !column.virtual)
  const policy = {
    key: shape.key.map(({ attnum, name, text }) => ({ name, attnum, text })),
    excluded: shape.excluded,
    masked: shape.masked,
    columns: columns.map((column) => column.name),
    json: columns.filter((column) => column.comparison === "json").map((column) => column.name)
  }
  return {
    storageSchema,
    shape,
    suffix: suffixOf(shape),
    policy: `${literal(JSON.stringify(policy))}::jsonb`,
    columns,
    known: textArray(policy.columns),
    needed: textArray([...shape.key.map((column) => column.name), ...shape.excluded, ...shape.masked]),
    general: policy.json.length > 0,
    inPlace: shape.columns
      .filter(({ name }) => shape.excluded.includes(name) || shape.masked.includes(name))
      .map(nameHolds)
      .join(" and ")
  }
}

/**
 * Whether a column still has its name. Names that were exchanged leave images of the same names: only the catalog tells,
 * and this is its quickest answer, from a cache and without a query.
 */
const nameHolds = ({ attnum, name }: ColumnShape): string =>
  "(pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), " +
  `${attnum})).object_names[3] = ${literal(name)}`

/** The policy for the general way: a variable where columns are redacted, whose names may have been exchanged. */
const generalPolicy = ({ inPlace, policy }: Parts): string => (inPlace === "" ? policy : "policy")

const policyVariable = ({ inPlace }: Parts): string => (inPlace === "" ? "" : "  policy jsonb;\n")

const settlePolicy = ({ inPlace, policy }: Parts): string =>
  inPlace === ""
    ? ""
    : `  policy := case when ${inPlace} then ${policy} else current_policy(${policy}, tg_relid) end;\n`

/** The image as it may be stored: virtual generated columns are never computed in triggers and left out. */
const cleaned = (parts: Parts, row: string): string => cleanedValue(parts, `${row}.*`)

const cleanedValue = (parts: Parts, value: string): string => {
  const virtual = parts.shape.columns.filter((column) => column.virtual).map((column) => column.name)
  const image = `to_jsonb(${value})`
  return virtual.length === 0 ? image : `${image} - ${textArray(virtual)}`
}

const redacted = (parts: Parts, image: string): string => {
  const { excluded, masked } = parts.shape
  const kept = excluded.length === 0 ? image : `${image} - ${textArray(excluded)}`
  return masked.length === 0 ? kept : `(${kept}) || ${literal(maskDocument(masked))}::jsonb`
}

const maskDocument = (names: ReadonlyArray<string>): string =>
  JSON.stringify(Object.fromEntries(names.map((name) => [name, "[masked]"])))

const keyText = (image: string, column: KeyColumn): string => {
  const text = `${image} ->> ${literal(column.name)}`
  return column.text === "text" ? text : `key_text(${text}, ${literal(column.text)})`
}

const rowPk = (parts: Parts, image: string): string =>
  parts.shape.key.length === 0
    ? "null::jsonb"
    : `jsonb_build_object(${parts.shape.key
        .map((column) => `${literal(column.name)}, ${keyText(image, column)}`)
        .join(", ")})`

const rowKey = (parts: Parts, image: string): string => {
  const [first, ...rest] = parts.shape.key
  if (first === undefined) return "null::text"
  return rest.length === 0
    ? `case when octet_length(${keyText(image, first)}) <= 512 then ${keyText(image, first)} else bounded_key(${keyText(image, first)}) end`
    : `key_of_texts(array[${parts.shape.key.map((column) => keyText(image, column)).join(", ")}])`
}

/** Whether a column differs between two images: as text, which keeps the scale of numbers. */
const differs = (column: ColumnShape, before: string, after: string): string => {
  const name = literal(column.name)
  return column.comparison === "text"
    ? `${before} ->> ${name} is distinct from ${after} ->> ${name}`
    : `(${before} -> ${name})::text is distinct from (${after} -> ${name})::text`
}

const compared = (parts: Parts): ReadonlyArray<ColumnShape> =>
  parts.columns
    .filter((column) => !parts.shape.excluded.includes(column.name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))

const header = (parts: Parts, name: string): string => {
  const wanted = new Set(parts.shape.columns.flatMap((column) => column.pins))
  const settings = (Object.keys(pins) as Array<Pin>).filter((pin) => wanted.has(pin)).map((pin) => `${pins[pin]}\n`)
  return `create or replace function ${qualified(parts.storageSchema, name)}() returns trigger
language plpgsql security definer
set search_path = ${identifier(parts.storageSchema)}, pg_temp
${settings.join("")}`
}

/** Settles what table a firing is of; names other than the generated ones are rare and looked up. */
const target = (
  parts: Parts
): string => `  if tg_table_name <> ${literal(parts.shape.name)} or tg_table_schema <> ${literal(parts.shape.schema)} then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, ${literal(parts.shape.schema)}, ${literal(parts.shape.name)});
  end if;`

const targetVariables = `  of_schema text;
  of_table text;
  of_partition text;`

/** Schema, table and partition of a change; the variables are set only where the names differ from the generated ones. */
const names = (parts: Parts): string =>
  `coalesce(of_schema, ${literal(parts.shape.schema)}), coalesce(of_table, ${literal(parts.shape.name)}), of_partition`

/** Puts the order right where host triggers wrote the same table; see the migration that defines these functions. */
const settle = (
  first: string
): string => `  if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
${first === "first_id" ? "" : `      first_id := ${first};\n`}      if note_nested(tg_relid) then
        -- An assignment of its own: only so does it see what the statement saw when it began.
        last_before := last_change_before(first_id);
        perform restore_order(tg_relid, last_before, first_id);
      end if;
    end if;`

const changeColumns =
  "id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after"

type Op = "insert" | "update" | "delete"

const hasOld = (op: Op): boolean => op !== "insert"
const hasNew = (op: Op): boolean => op !== "delete"

/**
 * The change of one row from the images in `was` and `now`: what a single-row statement and a row trigger come to.
 * Falls through to the general way when the table was altered since.
 */
const oneRow = (parts: Parts, op: Op, begin: string, end: string): string => {
  const done = "return null;"
  const image = hasNew(op) ? "now" : "was"
  // A name that is new is stored as it is; its diff takes the general way. Where something is redacted it may be the new
  // name of that, though another column has the old one.
  const strict = op === "update" || parts.shape.excluded.length + parts.shape.masked.length > 0
  const current = [
    ...(strict ? [`${image} - ${parts.known} = '{}'`] : []),
    `${image} ?& ${parts.needed}`,
    ...(parts.inPlace === "" ? [] : [parts.inPlace])
  ].join(" and ")
  const insert = (columns: {
    readonly fields: string
    readonly from: string
    readonly after: string
    readonly previous: string
  }): string => `      insert into audit_changes (
        transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key,
        previous_row_key, changed_fields, changed_from, data_after
      ) values (
        current_transaction(), clock_timestamp(), ${names(parts)}, ${literal(op)},
        ${rowPk(parts, image)}, ${rowKey(parts, image)},
        ${columns.previous}, ${columns.fields}, ${columns.from}, ${columns.after}
      );
    ${settle("currval('audit_changes_id_seq')")}
      ${done}`
  if (op !== "update") {
    return `${begin} ${current} then
${insert({
  fields: "null",
  from: op === "delete" ? redacted(parts, "was") : "null",
  after: op === "insert" ? redacted(parts, "now") : "null",
  previous: "null"
})}
${end}`
  }
  const texts = compared(parts).filter((column) => column.comparison === "text")
  const others = compared(parts).filter((column) => column.comparison !== "text")
  const loop = (columns: ReadonlyArray<ColumnShape>, different: string): string =>
    columns.length === 0
      ? ""
      : `      foreach field in array ${textArray(columns.map((column) => column.name))} loop
        if ${different} then
          fields := fields || field;
          old_values := coalesce(old_values, '{}') || jsonb_build_object(field, was -> field);
        end if;
      end loop;
`
  const { masked } = parts.shape
  const from =
    masked.length === 0
      ? "old_values"
      : `old_values || (select coalesce(jsonb_object_agg(f, '[masked]'), '{}') from unnest(fields) f where f = any (${textArray(masked)}))`
  const previous = rowKey(parts, "was")
  const moved =
    parts.shape.key.length === 0
      ? "null"
      : `case when fields && ${textArray(parts.shape.key.map((column) => column.name))} then nullif(${previous}, ${rowKey(parts, "now")}) end`
  return `${begin} ${current} then
${loop(texts, "was ->> field is distinct from now ->> field")}${loop(others, "(was -> field)::text is distinct from (now -> field)::text")}      if fields is null then
        ${done}
      end if;
${insert({ fields: "fields", from, after: redacted(parts, "now"), previous: moved })}
${end}`
}

/** Any number of rows, whatever has become of the table: images that cannot fail, compared name by name. */
const generalRows = (parts: Parts, op: Op): string => {
  const policy = generalPolicy(parts)
  const tail = `    ${settle("first_id")}
    return null;`
  const virtual = parts.shape.columns.filter((column) => column.virtual).map((column) => column.name)
  const image = (row: string) => (virtual.length === 0 ? `image(${row}.*)` : `image(${row}.*) - ${textArray(virtual)}`)
  if (op === "update") {
    return `${settlePolicy(parts)}    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (${changeColumns})
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${names(parts)},
      'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after
    from (
      select c.*
      from (
        select row_number() over () as place, ${image("x")} as image${parts.general ? ", exact_text(x.*) as exact" : ""}
        from threadline_old x
      ) o
      full join (
        select row_number() over () as place, ${image("x")} as image${parts.general ? ", exact_text(x.*) as exact" : ""}
        from threadline_new x
      ) n on n.place = o.place
      cross join lateral describe_update(
        o.image, n.image, ${parts.general ? "o.exact, n.exact" : "null, null"}, ${policy}, tg_relid
      ) c
      where c.changed
      order by o.place
    ) p;
${tail}`
  }
  const stored = op === "insert" ? "null, redacted_image" : "redacted_image, null"
  return `${settlePolicy(parts)}    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (${changeColumns})
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${names(parts)},
      ${literal(op)}, k.row_pk, k.row_key, null, null, ${stored.replace("redacted_image", () => `redact(r.image, ${policy}, tg_relid)`)}
    from (select ${image("x")} as image from threadline_${op === "insert" ? "new" : "old"} x) r
    cross join lateral image_key(r.image, ${policy} -> 'key', tg_relid) k;
${tail}`
}

/**
 * Rows up to this many bytes fit into jsonb whatever they hold: compressed values grow up to 255 times, an array of small
 * numbers six times more, and jsonb takes 256 MB.
 */
const directSize = 150_000

/** Old and new rows together that an update reads in step: bytes at a time, and how many times at most. */
const stepBytes = 32 * 1024 * 1024
const mostSteps = 32
/** What one step could hold if all its rows were as wide as the widest; an array takes four times this. */
const largestStep = 256 * 1024 * 1024

/** A statement on several rows of a table that is as it was when this was generated, set by set. */
const manyRows = (parts: Parts, op: Op): string => {
  const tail = `    ${settle("first_id")}
    return null;`
  if (op !== "update") {
    const image = "r.image"
    return `    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (${changeColumns})
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${names(parts)},
      ${literal(op)}, ${rowPk(parts, image)}, ${rowKey(parts, image)}, null, null,
      ${op === "insert" ? `null, ${redacted(parts, image)}` : `${redacted(parts, image)}, null`}
    from (
      select case when pg_column_size(x.*) < ${directSize} then ${cleaned(parts, "x")} else image(x.*) end as image
      from threadline_${op === "insert" ? "new" : "old"} x
      offset 0
    ) r;
${tail}`
  }
  const columns = compared(parts)
  const listed = (when: boolean) =>
    `array_remove(array[${columns
      .map((column, index) => `case when ${when ? "" : "not "}d.differ[${index + 1}] then ${literal(column.name)} end`)
      .join(", ")}]::text[], null)`
  const image = (value: string) =>
    `case when pg_column_size(${value}) < ${directSize} then ${cleanedValue(parts, value)} else image(${value}) end`
  const { masked } = parts.shape
  const dropped = [...parts.shape.excluded]
  const from = `p.was - p.same${dropped.length === 0 ? "" : ` - ${textArray(dropped)}`}`
  const keyNames = parts.shape.key.map((column) => column.name)
  const insert = (
    pairs: string,
    was: string,
    now: string,
    place: string
  ) => `insert into audit_changes (${changeColumns})
      select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${names(parts)},
        'update', ${rowPk(parts, "p.now")}, ${rowKey(parts, "p.now")},
        ${keyNames.length === 0 ? "null" : `case when not p.same @> ${textArray(keyNames)} then nullif(${rowKey(parts, "p.was")}, ${rowKey(parts, "p.now")}) end`},
        p.fields,
        ${masked.length === 0 ? from : `(${from}) || (select coalesce(jsonb_object_agg(f, '[masked]'), '{}') from unnest(p.fields) f where f = any (${textArray(masked)}))`},
        ${redacted(parts, "p.now")}
      from (
        select d.was, d.now, ${listed(true)} as fields, ${listed(false)} as same
        from (
          select ${place === "" ? "" : `${place}, `}${was} as was, ${now} as now, array[
            ${columns.map((column) => differs(column, was, now)).join(",\n            ")}
          ]::boolean[] as differ
          from ${pairs}
          offset 0
        ) d
        where true = any (d.differ)${place === "" ? "" : "\n        order by d.place"}
      ) p;`
  // "coalesce" makes a value of the row without naming it: a column may have any name.
  const rows = (name: string) => `unnest(array(select coalesce(x.*) from threadline_${name} x offset place limit step))`
  const inStep = `(
            select ${image("r.was")} as was, ${image("r.now")} as now
            from (select ${rows("old")} as was, ${rows("new")} as now) r
            offset 0
          ) i`
  const joined = (name: string) =>
    `(select row_number() over () as place, ${image("x.*")} as image from threadline_${name} x)`
  return `    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    -- Old and new rows are read in step, so many at a time that their arrays stay small: no join, no sort, and
    -- the order of the statement is kept. What would take too much memory or too many passes is joined by place.
    select count(*) / 2, sum(s.size), max(s.size) into total, bytes, widest
    from (
      select pg_column_size(x.*)::bigint as size from threadline_old x
      union all
      select pg_column_size(x.*) from threadline_new x
    ) s;
    step := ceil(total * least(1, ${stepBytes}::numeric / bytes));
    if bytes <= ${mostSteps * stepBytes} and step * widest <= ${largestStep} then
      place := 0;
      while place < total loop
      ${insert(inStep, "i.was", "i.now", "")}
        place := place + step;
      end loop;
    else
      ${insert(`${joined("old")} o\n          full join ${joined("new")} n on n.place = o.place`, "o.image", "n.image", "o.place")}
    end if;
${tail}`
}

const transition = (op: Op): string =>
  [hasOld(op) ? "old table as threadline_old" : "", hasNew(op) ? "new table as threadline_new" : ""].join(" ").trim()

const variables = (parts: Parts, op: Op): string => `#variable_conflict use_variable
declare
${targetVariables}
  first_id bigint;
  last_before bigint;
  -- One for all rows: what shares it was done by one statement.
  instant timestamptz;
${hasOld(op) ? "  was jsonb;\n" : ""}${hasNew(op) ? "  now jsonb;\n" : ""}${
  op === "update"
    ? `  field text;
  fields text[];
  old_values jsonb;
  total bigint;
  bytes bigint;
  widest bigint;
  step bigint;
  place bigint;
`
    : ""
}${policyVariable(parts)}  several boolean;
  guard boolean;
  stale boolean;`

const statementFunction = (parts: Parts, op: Op, name: string): string => {
  const images = [hasOld(op) ? `${cleaned(parts, "o")}` : "", hasNew(op) ? `${cleaned(parts, "n")}` : ""]
    .filter((text) => text !== "")
    .join(", ")
  const into = [hasOld(op) ? "was" : "", hasNew(op) ? "now" : ""].filter((text) => text !== "").join(", ")
  const tables = [hasOld(op) ? "threadline_old o" : "", hasNew(op) ? "threadline_new n" : ""]
    .filter((text) => text !== "")
    .join(", ")
  const fast = `
  -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
  -- that it costs no transaction id.
  begin
    select ${images} into strict ${into} from ${tables};
  exception
    when no_data_found then
      return null;
    when too_many_rows then
      several := true;
    when others then
      ${into.split(", ")[0]} := null;
  end;
  if several then
    select h.guard, ${parts.inPlace === "" ? "h.stale" : `h.stale or (${parts.inPlace}) is not true`} into guard, stale
    from capture_hints(tg_relid, ${textArray(parts.shape.columns.map((column) => column.name))}) h;
${oneRow(parts, op, "  elsif", "  end if;")}
  if not guard and not stale then
${manyRows(parts, op)}
  end if;
`
  return `${header(parts, name)}as $threadline$
${variables(parts, op)}
begin
${target(parts)}
${parts.general ? "" : fast}
${generalRows(parts, op)}
end
$threadline$`
}

const rowFunction = (parts: Parts, op: Op, name: string): string => {
  const virtual = parts.shape.columns.filter((column) => column.virtual).map((column) => column.name)
  const minus = virtual.length === 0 ? "" : ` - ${textArray(virtual)}`
  const images = [
    hasOld(op) ? `    was := to_jsonb(old)${minus};` : "",
    hasNew(op) ? `    now := to_jsonb(new)${minus};` : ""
  ]
  const guarded = [hasOld(op) ? `  was := image(old)${minus};` : "", hasNew(op) ? `  now := image(new)${minus};` : ""]
  const lines = (texts: ReadonlyArray<string>) => texts.filter((text) => text !== "").join("\n")
  const policy = generalPolicy(parts)
  const general =
    op === "update"
      ? `  insert into audit_changes (${changeColumns})
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), ${names(parts)},
    'update', c.row_pk, c.row_key, c.previous_row_key, c.changed_fields, c.changed_from, c.data_after
  from describe_update(was, now, ${parts.general ? "exact_text(old), exact_text(new)" : "null, null"}, ${policy}, tg_relid) c
  where c.changed
  returning id into first_id;`
      : `  insert into audit_changes (${changeColumns})
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), ${names(parts)},
    ${literal(op)}, k.row_pk, k.row_key, null, null, ${
      op === "insert" ? `null, redact(now, ${policy}, tg_relid)` : `redact(was, ${policy}, tg_relid), null`
    }
  from image_key(${op === "insert" ? "now" : "was"}, ${policy} -> 'key', tg_relid) k
  returning id into first_id;`
  return `${header(parts, name)}as $threadline$
#variable_conflict use_variable
declare
${targetVariables}
  first_id bigint;
  last_before bigint;
${hasOld(op) ? "  was jsonb;\n" : ""}${hasNew(op) ? "  now jsonb;\n" : ""}${
    op === "update" ? "  field text;\n  fields text[];\n  old_values jsonb;\n" : ""
  }${policyVariable(parts)}begin
${target(parts)}
${
  parts.general
    ? ""
    : `  begin
${lines(images)}
  exception when others then
    ${hasNew(op) ? "now" : "was"} := null;
  end;
${oneRow(parts, op, "  if", "  end if;")}
`
}${lines(guarded)}
${settlePolicy(parts)}${general}
  if first_id is null then
    return null;
  end if;
${settle("first_id")}
  return null;
end
$threadline$`
}

const truncateFunction = (parts: Parts, name: string): string => `${header(parts, name)}as $threadline$
begin
  perform capture_truncate(
    tg_relid, ${literal(parts.shape.schema)}, ${literal(parts.shape.name)}, ${literal(parts.shape.onTruncate)}, ${parts.policy}
  );
  return null;
end
$threadline$`

/** A column may be named like the quotes around the body, which would end it there. */
const requoted = (sql: string): string => {
  const quote = "$threadline$"
  const from = sql.indexOf(`as ${quote}\n`) + 3 + quote.length
  const body = sql.slice(from, -quote.length)
  let other = quote
  for (let n = 1; body.includes(other); n++) other = `$threadline${n}$`
  return `${sql.slice(0, from - quote.length)}${other}${body}${other}`
}

/** Names of triggers; the digit sorts before the names of the host's own triggers. */
const triggerNames = {
  insert: "0_threadline_insert",
  update: "0_threadline_update",
  delete: "0_threadline_delete",
  truncate: "0_threadline_truncate"
} as const

/**
 * Generates functions and triggers for one audited table. The code names no host column outside text literals, so
 * that altering the table never breaks the host's writes.
 */
export const generate = (storageSchema: string, shape: TableShape): GeneratedSource => {
  const parts = partsOf(storageSchema, shape)
  const functionName = (kind: string) => `capture_${kind}_${parts.suffix}`
  const build = shape.mode === "row" ? rowFunction : statementFunction
  const ops: ReadonlyArray<Op> = ["insert", "update", "delete"]
  const sources = [
    ...ops.map((op) => ({ name: functionName(op), sql: requoted(build(parts, op, functionName(op))) })),
    { name: functionName("truncate"), sql: requoted(truncateFunction(parts, functionName("truncate"))) }
  ]
  const functions = sources.flatMap(({ name, sql }) => [
    { name, sql },
    { name, sql: `revoke all on function ${qualified(storageSchema, name)}() from public` }
  ])
  const triggers = (relation: RelationShape): ReadonlyArray<GeneratedObject> => {
    const on = qualified(relation.schema, relation.name)
    const rowMode = shape.mode === "row" || relation.kind === "foreign"
    // A row trigger on a partitioned table is cloned to its partitions by PostgreSQL itself.
    const skip = rowMode && relation.position === "partition"
    const changes = skip
      ? []
      : ops.map((op) => ({
          name: triggerNames[op],
          sql: `create or replace trigger ${identifier(triggerNames[op])} after ${op} on ${on}
${rowMode ? "for each row" : `referencing ${transition(op)}\nfor each statement`}
execute function ${qualified(storageSchema, functionName(op))}()`
        }))
    const truncate = {
      name: triggerNames.truncate,
      sql: `create or replace trigger ${identifier(triggerNames.truncate)} before truncate on ${on}
for each statement
execute function ${qualified(storageSchema, functionName("truncate"))}()`
    }
    const made = [...changes, truncate]
    return shape.always
      ? [
          ...made,
          ...made.map(({ name }) => ({
            name,
            sql: `alter ${relation.kind === "foreign" ? "foreign " : ""}table ${on} enable always trigger ${identifier(name)}`
          }))
        ]
      : made
  }
  const settings = JSON.stringify({ generatorVersion, mode: shape.mode, always: shape.always })
  const sourceHash = createHash("sha256")
    .update([settings, ...functions.map((object) => object.sql)].join("\0"))
    .digest("hex")
  return { functions, triggers, sourceHash }
}
