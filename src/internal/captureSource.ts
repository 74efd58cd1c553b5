/**
 * Generates the trigger functions of one audited table, as SQL text.
 */

/** A session setting that changes the text of some types; pinned only where a table has such a type. */
export type Pin = "timezone" | "datestyle" | "intervalstyle" | "bytea_output" | "extra_float_digits" | "lc_monetary"

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
