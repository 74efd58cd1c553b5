/**
 * What the generator is given and what it makes: the shape of a captured table, and its functions and triggers as values. Only
 * the printer turns these into SQL statements. No code reads SQL to learn what they are.
 */

import type { Code } from "./code.js"
import type { comparisons, everyPin, Mask, PolicyPath } from "../model.js"

/** A session setting that is pinned, because a table has a type whose text it changes. */
export type Pin = (typeof everyPin)[number]

/**
 * How old and new value of a column are compared:
 *
 * - `text`: as the text of the image, which differs if the values do.
 * - `image`: the same, but different values may have one image: `-0`, bounds of arrays, null inside composites.
 * - `jsonb`: as jsonb text, because the image may hold values of several JSON types: `1` and `"1"`, null and SQL's null.
 * - `json`: as the exact text, of which the image loses some.
 * - `cast`: an extension casts the type to json and may lose some of it, or raise. The image holds the text.
 */
export type Comparison = (typeof comparisons)[number]

/**
 * How a text becomes canonical, so that equal keys have equal texts. `numbers`: JSON with numbers of any scale in it; `bounds`: a range or
 * multirange over `numeric`.
 */
export type LeafText = "text" | "numeric" | "interval" | "citext" | "bpchar" | "numbers" | "bounds"

/**
 * The same for a key column. Arrays and composites whose parts need more than `numbers` have a shape, JSON with one of these words for each
 * kind of part: `shape ["interval"]`, `shape {"during":"bounds","place":"text"}`.
 */
export type KeyText = LeafText | `shape ${string}`

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

export type Masks = Readonly<Record<string, Mask>>

/** Redacted paths inside json columns, by column. */
export type Paths = Readonly<Record<string, ReadonlyArray<PolicyPath>>>

export interface TableShape {
  readonly schema: string
  readonly name: string
  readonly columns: ReadonlyArray<ColumnShape>
  /** In key order; empty if the table has no key. */
  readonly key: ReadonlyArray<KeyColumn>
  readonly mode: "statement" | "row"
  /** Rows of a partitioned table move between partitions. */
  readonly partitioned: boolean
  readonly always: boolean
  readonly onTruncate: "event" | "rows" | "refuse"
  readonly excluded: ReadonlyArray<string>
  readonly masked: ReadonlyArray<string>
  /** Masks of masked columns that do not become "[masked]". */
  readonly masks: Masks
  readonly paths: Paths
}

/** The root table itself, or a partition of it at any depth. */
export interface RelationShape {
  readonly schema: string
  readonly name: string
  readonly position: "root" | "partition"
  /** Foreign tables and partitioned parents differ in the triggers they accept. */
  readonly kind: "table" | "partitioned" | "foreign"
}

/** The operations whose rows triggers see. */
export type Op = "insert" | "update" | "delete"

export type Event = Op | "truncate"

/**
 * What a trigger function is for. It records the changes of an event. For a partitioned table, it may also note the beginning of
 * an UPDATE or MERGE, or the rows that leave or enter a partition.
 */
export type Purpose = Event | "begin" | "leave" | "enter"

/** A trigger function in Threadline's schema: security definer, without arguments. */
export interface TriggerFunction {
  readonly name: string
  readonly pins: ReadonlyArray<Pin>
  /** PL/pgSQL, without the quotes around it. */
  readonly body: Code
  /**
   * Whether every role may execute it. PostgreSQL clones row triggers of a table for a new partition, and checks the right of the
   * role that makes the partition. Without it, capture would keep a table's owner from making partitions.
   */
  readonly everybody: boolean
}

export interface Trigger {
  readonly name: string
  readonly event: Event
  readonly timing: "before" | "after"
  readonly level: "row" | "statement"
  /** A condition in SQL, which PostgreSQL checks before it calls the function. */
  readonly condition?: string
  /** Whether it has transition tables: `threadline_old`, `threadline_new`, or both, as its event gives them. */
  readonly transition: boolean
  /** Fires under `session_replication_role = replica` too. */
  readonly always: boolean
  /** Name of the function that it calls. */
  readonly calls: string
}

export interface Generated {
  readonly functions: ReadonlyArray<TriggerFunction>
  /** The function that these ask whether the table was altered. The database makes it (`make_watchful`), because it has the table's OID. */
  readonly watchful: string
  /** The triggers of one relation. */
  readonly triggers: (relation: Pick<RelationShape, "kind" | "position">) => ReadonlyArray<Trigger>
  /** SHA-256 of everything above, in hexadecimal: the deployed policy keeps it. */
  readonly sourceHash: string
}

/** The triggers of a partition, by its kind. The policy keeps them, and the schema watch makes triggers from them. */
export type PartitionTriggers = Readonly<Record<RelationShape["kind"], ReadonlyArray<Trigger>>>

export const generatorVersion = 1
