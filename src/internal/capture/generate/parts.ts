/**
 * What every piece of generated code shares: the constants of one table, and expressions over its images, as SQL text.
 *
 * The code names columns of the host only in string literals, so that altering the table never breaks the host's writes.
 */
import { longestKey } from "../../core/limits.js"
import { identifier, literal, textArray } from "../../sql/sqlText.js"
import { type Code, code, nothing } from "./code.js"
import type { ColumnShape, KeyColumn, Op, Purpose, TableShape } from "./model.js"
import { watchfulName } from "./names.js"

export interface Parts {
  readonly shape: TableShape
  readonly policy: string
  /** Columns that images have: all but the virtual ones. */
  readonly columns: ReadonlyArray<ColumnShape>
  readonly virtual: ReadonlyArray<string>
  readonly columnNames: string
  /** Columns whose images hold the text of their values. */
  readonly texts: string
  /** Columns without which an image cannot be keyed or redacted as configured. The column of a plain key is not among them. */
  readonly needed: ReadonlyArray<string>
  /**
   * The general way is always taken if a json column loses some of its text, if a cast of an extension may lose some, or if paths inside
   * a column are redacted.
   */
  readonly general: boolean
  /** Whether rows that differ may have one image. */
  readonly hides: boolean
  readonly excluded: string
  /** True while the redacted columns have the names they had; empty if nothing is redacted. */
  readonly inPlace: string
}

export const partsOf = (shape: TableShape): Parts => {
  const columns = shape.columns.filter((column) => !column.virtual)
  const pathColumns = Object.keys(shape.paths)
  const redactedColumns = [...shape.excluded, ...shape.masked, ...pathColumns]
  const policy = {
    key: shape.key.map(({ attnum, name, text }) => ({ name, attnum, text })),
    excluded: shape.excluded,
    masked: shape.masked,
    columns: columns.map((column) => column.name),
    json: columns.filter((column) => column.comparison === "json").map((column) => column.name),
    texts: columns.filter((column) => column.comparison === "cast").map((column) => column.name),
    ...(Object.keys(shape.masks).length === 0 ? {} : { masks: shape.masks }),
    ...(pathColumns.length === 0 ? {} : { paths: shape.paths })
  }
  return {
    shape,
    policy: `${literal(JSON.stringify(policy))}::jsonb`,
    columns,
    virtual: shape.columns.filter((column) => column.virtual).map((column) => column.name),
    columnNames: textArray(policy.columns),
    texts: textArray(policy.texts),
    needed: [...(isPlainKey(shape.key) ? [] : shape.key.map((column) => column.name)), ...redactedColumns],
    general: policy.json.length + policy.texts.length + pathColumns.length > 0,
    hides: columns.some(({ comparison, name }) => comparison !== "text" && !shape.excluded.includes(name)),
    excluded: textArray(shape.excluded),
    inPlace: shape.columns
      .filter(({ name }) => redactedColumns.includes(name))
      .map(nameHolds)
      .join(" and ")
  }
}

/**
 * Whether a column still has its name. After two columns exchanged their names, images have the same names as before. Only the
 * catalog shows it. This function is the quickest way to ask: it reads a cache and runs no query.
 */
const nameHolds = ({ attnum, name }: ColumnShape): string =>
  "(pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), " +
  `${attnum})).object_names[3] = ${literal(name)}`

export const hasOld = (op: Op): boolean => op !== "insert"
export const hasNew = (op: Op): boolean => op !== "delete"

/** The images of a row before and after an operation. */
export const imageVariables = (op: Op): Code => [
  ...(hasOld(op) ? ["was jsonb;"] : []),
  ...(hasNew(op) ? ["now jsonb;"] : [])
]

/** The policy for the general way: a variable if columns are redacted, whose names may have been exchanged. */
export const generalPolicy = ({ inPlace, policy }: Parts): string => (inPlace === "" ? policy : "policy")

/** What the general way needs to know: its policy, and the columns that still hold values, if the table was altered. */
export const generalVariables = ({ inPlace }: Parts): Code => [
  ...(inPlace === "" ? [] : ["policy jsonb;"]),
  "valued text[];"
]

/** Sets the variable that `generalPolicy` names, if it names one. */
export const settlePolicy = ({ inPlace, policy }: Parts): Code =>
  inPlace === ""
    ? nothing
    : [`policy := case when ${inPlace} then ${policy} else current_policy(${policy}, tg_relid) end;`]

/**
 * Leaves virtual generated columns out of an image. They are never computed in triggers, so they are null. A column that took
 * such a name later may hold a value.
 */
export const withoutVirtual = ({ virtual }: Parts, image: string): string =>
  virtual.length === 0 ? image : `without_virtual(${image}, ${textArray(virtual)}, tg_relid)`

/** The image of a row as it may be stored. */
export const imageOf = (parts: Parts, row: string): string => withoutVirtual(parts, `to_jsonb(${row})`)

export const redacted = (parts: Parts, image: string): string => {
  const { excluded, masked } = parts.shape
  const withoutExcluded = excluded.length === 0 ? image : `${image} - ${textArray(excluded)}`
  if (hasMasks(parts)) {
    return `mask_fields(${withoutExcluded}, ${masksOf(parts)})`
  }
  return masked.length === 0 ? withoutExcluded : `(${withoutExcluded}) || ${literal(maskDocument(masked))}::jsonb`
}

const maskDocument = (names: ReadonlyArray<string>): string =>
  JSON.stringify(Object.fromEntries(names.map((name) => [name, "[masked]"])))

/** Whether the key is the text of one column as it is, unless that is too long. */
const isPlainKey = (key: TableShape["key"]): boolean => key.length === 1 && key[0]?.text === "text"

/** Whether a masked column becomes anything but "[masked]". Only such tables pay for the calls. */
const hasMasks = ({ shape: { masks } }: Parts): boolean => Object.keys(masks).length > 0

const masksOf = ({ shape: { masked, masks } }: Parts): string =>
  `${literal(JSON.stringify(Object.fromEntries(masked.map((name) => [name, masks[name] ?? "[masked]"]))))}::jsonb`

/** Masks the old values of the changed `fields`. */
export const masking = (parts: Parts, values: string, fields: string): string => {
  const { masked } = parts.shape
  if (hasMasks(parts)) {
    return `mask_fields(${values}, ${masksOf(parts)})`
  }
  return masked.length === 0
    ? values
    : `${values} || (select coalesce(jsonb_object_agg(f, '[masked]'), '{}') from unnest(${fields}) f where f = any (${textArray(masked)}))`
}

const keyText = (image: string, column: KeyColumn): string => {
  const text = `${image} ->> ${literal(column.name)}`
  return column.text === "text" ? text : `key_text(${text}, ${literal(column.text)})`
}

/** The texts of the key's columns in an image. */
export const keyTexts = ({ shape }: Parts, image: string): ReadonlyArray<string> =>
  shape.key.map((column) => keyText(image, column))

/** `row_pk`, from the texts of the key's columns. */
export const rowPk = ({ shape }: Parts, texts: ReadonlyArray<string>): string =>
  texts.length === 0
    ? "null::jsonb"
    : `jsonb_object(array[${texts.map((text, index) => `${literal(shape.key[index]?.name ?? "")}, ${text}`).join(", ")}])`

/** `row_key`, from the same texts. */
export const rowKey = (texts: ReadonlyArray<string>): string => {
  const [first, ...others] = texts
  if (first === undefined) return "null::text"
  return others.length === 0
    ? `case when octet_length(${first}) <= ${longestKey} then ${first} else bounded_key(${first}) end`
    : `key_of_texts(array[${texts.join(", ")}])`
}

/** True while the image has the column of a plain key, and a string in it that is short enough to be taken as it is. */
export const keyIsShort = ({ shape }: Parts, image: string): ReadonlyArray<string> =>
  isPlainKey(shape.key) ? shape.key.map((column) => `octet_length(${keyText(image, column)}) <= ${longestKey}`) : []

/** The `row_key` of an image for which `keyIsShort` holds. */
export const shortRowKey = (parts: Parts, image: string): string =>
  isPlainKey(parts.shape.key) ? keyTexts(parts, image).join() : rowKey(keyTexts(parts, image))

/** The image of a row, for any values, and even if the table was altered. `noteAltered` or `settleGeneral` comes before it. */
export const generalImage = ({ columnNames, texts }: Parts, row: string): string =>
  `image_of(${row}, tg_relid, coalesce(valued, ${columnNames}), ${texts})`

/** `generalImage` after redaction, as it may be stored. */
export const storedImage = (parts: Parts, row: string): string =>
  `redact(${generalImage(parts, row)}, ${generalPolicy(parts)}, tg_relid)`

/** Whether a column differs between two images: as text, which keeps the scale of numbers. */
export const differs = (column: ColumnShape, before: string, after: string): string => {
  const name = literal(column.name)
  return column.comparison !== "jsonb"
    ? `${before} ->> ${name} is distinct from ${after} ->> ${name}`
    : `(${before} -> ${name})::text is distinct from (${after} -> ${name})::text`
}

export const comparedColumns = (parts: Parts): ReadonlyArray<ColumnShape> =>
  parts.columns
    .filter((column) => !parts.shape.excluded.includes(column.name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))

/**
 * A table that became a partition of another captured one keeps its triggers. Its rows must not be recorded twice. If row triggers
 * of the root see them, these functions record nothing. If the root has statement triggers, they may not see the statement: they
 * remove what they see themselves (`forget_attached`).
 */
const unlessSeen = ({ shape }: Parts, purpose: Purpose): Code => {
  const schema = literal(shape.schema)
  const name = literal(shape.name)
  const noteAttached = code`
    if of_partition is not null then
      perform set_config('threadline.attached', 'yes', true);
    end if;
  `
  return code`
    if (of_table <> ${name} or of_schema <> ${schema}) and of_partition is not null
      and seen_by_root(tg_relid, ${schema}, ${name}, ${literal(purpose)})
    then
      return null;
    end if;
    ${shape.mode === "row" ? noteAttached : nothing}
  `
}

/** Settles which table a firing belongs to. Names other than the generated ones are rare, and are looked up. */
export const settleTarget = (parts: Parts, purpose: Purpose): Code => {
  const schema = literal(parts.shape.schema)
  const name = literal(parts.shape.name)
  return code`
    if tg_table_name <> ${name} or tg_table_schema <> ${schema} then
      select * into of_schema, of_table, of_partition
      from capture_relation(tg_relid, ${schema}, ${name});
      ${unlessSeen(parts, purpose)}
    end if;
  `
}

/** The same for a function that every role may make a trigger of: the table's name proves nothing. */
export const settleOpenTarget = (parts: Parts, purpose: Purpose): Code => code`
  select * into of_schema, of_table, of_partition
  from capture_relation(tg_relid, ${literal(parts.shape.schema)}, ${literal(parts.shape.name)}, true);
  ${unlessSeen(parts, purpose)}
`

export const targetVariables = code`
  of_schema text;
  of_table text;
  of_partition text;
`

/** Schema, table and partition of a change; the variables are set only if the names differ from the generated ones. */
export const targetColumns = ({ shape }: Parts): ReadonlyArray<readonly [column: string, value: string]> => [
  ["table_schema", `coalesce(of_schema, ${literal(shape.schema)})`],
  ["table_name", `coalesce(of_table, ${literal(shape.name)})`],
  ["partition_name", "of_partition"]
]

export const target = (parts: Parts): string =>
  targetColumns(parts)
    .map(([, value]) => value)
    .join(", ")

/**
 * Whether the table is as its policy knows it. PostgreSQL computes this while it plans, and plans anew after the table was altered
 * (`make_watchful`).
 */
export const isUnaltered = ({ shape }: Parts): string => `${identifier(watchfulName(shape))}(tg_relid)`

// A column that was dropped may have left its name to a virtual one.
const settleValued = ({ columnNames }: Parts): string => `valued := valued_columns(tg_relid, ${columnNames});`

/**
 * Comes before the images of the general way. Notes that the table was altered: changes from this write on prove nothing about the time
 * before it.
 */
export const noteAltered = (parts: Parts): Code => code`
  if not ${isUnaltered(parts)} then
    perform note_altered(tg_relid);
    ${settleValued(parts)}
  end if;
`

/** The same before images that are made earlier: it notes nothing. */
export const settleGeneral = (parts: Parts): Code => code`
  ${settlePolicy(parts)}
  if not ${isUnaltered(parts)} then
    ${settleValued(parts)}
  end if;
`

/** Corrects the order if triggers of the host wrote the same table. The migration that defines these functions says how. */
export const settleOrder = code`
  if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
    if note_nested(tg_relid) then
      -- An assignment of its own: only so does it see what the statement saw when it began.
      last_before := last_change_before(first_id);
      perform restore_order(tg_relid, last_before, first_id);
    end if;
  end if;
`

export const changeColumns =
  "id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after"
