/**
 * The SQL statements of steps. They refer to everything by name, never by OID, so that they can be printed, kept, and run
 * elsewhere.
 */
import type { Name } from "./catalogModel.js"
import type { FormerColumn } from "./formerly.js"
import { generatorVersion, type PartitionTriggers, type TableShape } from "./generate/model.js"
import { isWatchful, watchfulName } from "./generate/names.js"
import { identifier, literal, qualified, textArray } from "../sql/sqlText.js"

const table = (name: Name): string => qualified(name.schema, name.name)

/**
 * Runs statements as the owner of Threadline's schema and then restores the former role. `reset role` would forget a role that
 * the session had set. Everything is local to the transaction.
 */
export const asOwner = (owner: string, statements: ReadonlyArray<string>): ReadonlyArray<string> =>
  statements.length === 0
    ? []
    : [
        "select pg_catalog.set_config('threadline.role', pg_catalog.current_setting('role'), true)",
        `select pg_catalog.set_config('role', ${literal(owner)}, true)`,
        ...statements,
        "select pg_catalog.set_config('role', pg_catalog.current_setting('threadline.role'), true)"
      ]

export const grantSelect = (relations: ReadonlyArray<Name>, owner: string): string =>
  `grant select on ${relations.map(table).join(", ")} to ${identifier(owner)}`

export const grantUsage = (schemas: ReadonlyArray<string>, owner: string): string =>
  `grant usage on schema ${schemas.map(identifier).join(", ")} to ${identifier(owner)}`

export const dropTrigger = (relation: Name, trigger: string): string =>
  `drop trigger if exists ${identifier(trigger)} on ${table(relation)}`

export const enableTrigger = (
  relation: Name,
  trigger: string,
  { always, foreign }: { readonly always: boolean; readonly foreign: boolean }
): string =>
  `alter ${foreign ? "foreign " : ""}table ${table(relation)} enable ${always ? "always " : ""}trigger ${identifier(trigger)}`

export type LockMode = "share row exclusive" | "access exclusive"

/** Locks a table, without its partitions. */
export const lockOnly = (name: Name, mode: LockMode): string => `lock table only ${table(name)} in ${mode} mode`

/** How many relations of a partitioned table this session has not locked in a mode. An expression of SQL; it waits for nobody. */
export const locksLeft = (root: Name, mode: LockMode): string => `(
  with recursive tree (oid) as (
    select ${regclass(root)}::pg_catalog.oid
    union all
    select i.inhrelid from pg_catalog.pg_inherits i join tree t on t.oid = i.inhparent
  )
  select count(*)
  from tree t
  where t.oid not in (
    select l.relation
    from pg_catalog.pg_locks l
    where l.pid = pg_catalog.pg_backend_pid()
      and l.locktype = 'relation'
      and l.granted
      and l.mode in (${mode === "access exclusive" ? "" : "'ShareRowExclusiveLock', "}'AccessExclusiveLock')
  )
)`

/** A generated function with its arguments: only one of them is no trigger function. */
const signature = (storage: string, name: string): string =>
  `${qualified(storage, name)}(${isWatchful(name) ? "oid" : ""})`

export const giveFunction = (storage: string, name: string, owner: string): string =>
  `alter function ${signature(storage, name)} owner to ${identifier(owner)}`

export const dropFunction = (storage: string, name: string): string =>
  `drop function if exists ${signature(storage, name)}`

const policies = (storage: string): string => qualified(storage, "capture_policies")

const regclass = (name: Name): string => `${literal(table(name))}::pg_catalog.regclass`

const where = (name: Name): string => `where table_schema = ${literal(name.schema)}
  and table_name = ${literal(name.name)}`

const json = (value: unknown): string => `${literal(JSON.stringify(value))}::pg_catalog.jsonb`

/**
 * Writes the whole policy of a table, and ends its lapse if it was not captured. It runs after the triggers are made, because
 * their locks keep writes off from then on.
 */
export const upsertPolicy = (
  storage: string,
  shape: TableShape,
  options: {
    readonly partitions: ReadonlyArray<string>
    readonly acknowledgeCasts: boolean
    readonly sourceHash: string
    readonly dropGuard: boolean
    readonly partitionTriggers: PartitionTriggers
  }
): string => `insert into ${policies(storage)} as p (
  table_schema, table_name, relation, mode, always, on_truncate, key_columns, excluded, masked, masks, paths,
  columns, partitions, acknowledged_casts, source_hash, generator, database, partition_marks, row_marks, key_values,
  captured_since, partition_triggers, drop_guard
) values (
  ${literal(shape.schema)}, ${literal(shape.name)}, ${regclass(shape)}, ${literal(shape.mode)}, ${shape.always},
  ${literal(shape.onTruncate)},
  ${json(shape.key)},
  ${textArray(shape.excluded)}, ${textArray(shape.masked)}, ${json(shape.masks)}, ${json(shape.paths)},
  ${json(shape.columns)},
  ${textArray(options.partitions)}, ${options.acknowledgeCasts}, ${literal(options.sourceHash)}, ${generatorVersion},
  ${qualified(storage, "this_database")}(), ${qualified(storage, "partition_marks")}(${regclass(shape)}),
  ${qualified(storage, "row_marks")}(${regclass(shape)}, ${textArray([...shape.excluded, ...shape.masked])}),
  ${qualified(storage, "key_values")}(${regclass(shape)}, ${json(shape.key)}),
  least(pg_catalog.clock_timestamp(), ${qualified(storage, "first_change")}(${literal(shape.schema)}, ${literal(shape.name)})),
  ${json(options.partitionTriggers)}, ${options.dropGuard}
)
on conflict (table_schema, table_name) do update
set relation = excluded.relation,
  mode = excluded.mode,
  always = excluded.always,
  on_truncate = excluded.on_truncate,
  key_columns = excluded.key_columns,
  key_values = excluded.key_values,
  former_keys = case
    when p.key_columns = '[]' then p.former_keys
    when p.key_columns = excluded.key_columns and excluded.key_values @> p.key_values then p.former_keys
    else pg_catalog.jsonb_build_array(
      ${qualified(storage, "former_key")}(p.key_columns, p.key_values, excluded.key_values)) || p.former_keys
  end,
  excluded = excluded.excluded,
  masked = excluded.masked,
  masks = excluded.masks,
  paths = excluded.paths,
  columns = excluded.columns,
  partitions = excluded.partitions,
  acknowledged_casts = excluded.acknowledged_casts,
  source_hash = excluded.source_hash,
  generator = excluded.generator,
  database = excluded.database,
  partition_marks = excluded.partition_marks,
  row_marks = excluded.row_marks,
  partition_triggers = excluded.partition_triggers,
  drop_guard = excluded.drop_guard,
  gap_since = null,
  applied_at = pg_catalog.clock_timestamp(),
  applied_by = session_user,
  -- Rows that are told apart otherwise from now on are not those of before, though nothing was missed.
  lapses = ${qualified(storage, "lapses_closed")}(p.lapses, coalesce(p.removed_at, case
    when not ${qualified(storage, "same_key")}(p.key_columns, excluded.key_columns)
    then pg_catalog.clock_timestamp() - interval '1 microsecond'
  end)),
  removed_at = null`

/**
 * Makes the function by which the triggers ask whether the table was altered. It runs after each write of the policy.
 * `provisional`: it runs once more, after partitions have joined or the policy is written. Until then, what is noted of partitions stays.
 */
export const makeWatchful = (storage: string, name: Name, finality: "final" | "provisional" = "final"): string =>
  `select ${qualified(storage, "make_watchful")}(${regclass(name)}, ${literal(watchfulName(name))}${finality === "provisional" ? ", true" : ""})`

/** Columns that were renamed since the policy was applied. All are renamed at once, because two may have exchanged their names. */
export const renameColumns = (
  storage: string,
  name: Name,
  renames: ReadonlyArray<readonly [from: string, to: string]>
): string =>
  `select ${qualified(storage, "columns_renamed")}(${literal(name.schema)}, ${literal(name.name)}, ${json(
    renames.map(([formerly, column]) => ({ formerly, column }))
  )})`

/** The former names that are declared, and no others. */
export const declareNames = (
  storage: string,
  name: Name,
  names: ReadonlyArray<Name>,
  columns: ReadonlyArray<FormerColumn>
): string =>
  `select ${qualified(storage, "names_declared")}(${literal(name.schema)}, ${literal(name.name)}, ${json(names)}, ${json(columns)})`

/** Lets the policies of renamed tables follow them. */
export const followNames = (storage: string): string => `select ${qualified(storage, "follow_names")}()`

/** Lets the tables that have the names of a table which is gone go on with what it recorded under them. */
export const releaseNames = (storage: string, gone: Name): string =>
  `select ${qualified(storage, "names_released")}(${literal(gone.schema)}, ${literal(gone.name)})`

const closed = (storage: string): string => `${qualified(storage, "lapses_closed")}(p.lapses, p.removed_at)`

/**
 * If some of the table's triggers are missing, the policy is marked as removed, as of the instant since which nothing is known.
 * It runs before any trigger is made.
 */
export const noteLapse = (storage: string, name: Name): string =>
  `select ${qualified(storage, "note_lapse")}(${literal(name.schema)}, ${literal(name.name)})`

/** From here to the end of the work, or of the transaction, the schema watch ignores what is done to the table's triggers. */
export const workBegins = (storage: string, name: Name): string =>
  `select ${qualified(storage, "work_begins")}(${literal(name.schema)}, ${literal(name.name)})`

export const workEnds = (storage: string, name: Name, effect: "applied" | "removed"): string =>
  `select ${qualified(storage, "work_ends")}(${literal(name.schema)}, ${literal(name.name)}, ${literal(effect)})`

/** Ends the lapse that was noted, after the triggers are made. */
export const closeLapse = (storage: string, name: Name): string =>
  `update ${policies(storage)} as p
set lapses = ${closed(storage)},
  removed_at = null
${where(name)}
  and removed_at is not null`

/** The label of a partition in the policy, as an SQL expression: the database decides what needs quotes. */
const databaseLabel = ({ name, schema }: Name): string =>
  `pg_catalog.quote_ident(${literal(schema)}) || '.' || pg_catalog.quote_ident(${literal(name)})`

export const addPartition = (storage: string, root: Name, partition: Name, label: string): string =>
  `update ${policies(storage)}
set partitions = pg_catalog.array_append(pg_catalog.array_remove(partitions, ${literal(label)}), ${literal(label)}),
  row_marks = row_marks || pg_catalog.jsonb_build_object(
    'files', row_marks -> 'files' || (${qualified(storage, "row_marks")}(${regclass(partition)}, '{}') -> 'files'),
    'computed', row_marks -> 'computed' || (${qualified(storage, "row_marks")}(${regclass(partition)}, '{}') -> 'computed'),
    'unlogged', row_marks -> 'unlogged' || (${qualified(storage, "row_marks")}(${regclass(partition)}, '{}') -> 'unlogged'),
    'triggers', row_marks -> 'triggers' || ${qualified(storage, "trigger_marks")}(${regclass(partition)})),
  partition_marks = partition_marks || pg_catalog.jsonb_build_object(
    ${databaseLabel(partition)}, ${qualified(storage, "partition_marks")}(${regclass(root)}) ->> (${databaseLabel(partition)}))
${where(root)}`

/** Notes a lapse if a partition brought rows that are not in the record. */
export const partitionJoined = (storage: string, root: Name, partition: Name): string =>
  `select ${qualified(storage, "partition_joined")}(${regclass(partition)}, ${literal(root.schema)}, ${literal(root.name)})`

/** The same for every partition that the policy of its root does not know. */
export const partitionsJoined = (storage: string, root: Name): string =>
  `select ${qualified(storage, "partitions_joined")}(${regclass(root)}, ${literal(root.schema)}, ${literal(root.name)})`

export const forgetPartition = (storage: string, root: Name, label: string): string =>
  `update ${policies(storage)}
set partitions = pg_catalog.array_remove(partitions, ${literal(label)}),
  partition_marks = partition_marks - ${literal(label)}
${where(root)}`

export const retirePolicy = (storage: string, name: Name): string =>
  `update ${policies(storage)}
set removed_at = pg_catalog.clock_timestamp()
${where(name)}
  and removed_at is null`

/**
 * Writes a change for every row of a relation: `baseline` if the relation joined a captured table, `delete` if it left one. The
 * owner of Threadline's schema must be able to read the relation.
 */
export const markRows = (storage: string, relation: Name, root: Name, op: "baseline" | "delete"): string =>
  `select ${qualified(storage, "mark_rows")}(${regclass(relation)}, ${literal(root.schema)}, ${literal(root.name)}, ${literal(op)})`
