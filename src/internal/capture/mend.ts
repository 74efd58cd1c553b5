/**
 * What mends something, as data: a command to run, statements to run, or something that only the host can decide.
 */
import * as Schema from "effect/Schema"

/**
 * A command line, word by word.
 *
 * @since 0.1.0
 * @category models
 */
export const Argv = Schema.NonEmptyArray(Schema.String)

/**
 * @since 0.1.0
 * @category models
 */
export type Argv = typeof Argv.Type

/**
 * What the host does, in code, configuration, or the database. `phrase.ts` has the sentence of each. `names` of the mend are what
 * the sentence is about.
 *
 * @since 0.1.0
 * @category models
 */
export const HostAction = Schema.Literal(
  "allowLessRedaction",
  "applyLater",
  "callOutsideTransaction",
  "captureApplicationTables",
  "captureAlways",
  "capturePermanentTables",
  "captureTablesUnder",
  "captureTables",
  "changeIndex",
  "changeLoginOwner",
  "changeOwner",
  "changePersistence",
  "chooseTruncate",
  "configure",
  "configureChildren",
  "configureInstead",
  "correctColumn",
  "correctContext",
  "correctExpected",
  "correctKey",
  "correctRedaction",
  "createUniqueIndex",
  "declareKey",
  "dropCast",
  "dropCasts",
  "redactComputed",
  "keyUncomputed",
  "redactSensitive",
  "removeGap",
  "keepOne",
  "leaveKeyOut",
  "mendEventTrigger",
  "leaveModeOut",
  "leaveOut",
  "listCaptured",
  "nameAsInSql",
  "nameColumnsExactly",
  "nameInConfiguration",
  "nameMeant",
  "nameRenamed",
  "nameRoot",
  "renameFunction",
  "renameTable",
  "renameTrigger",
  "resetReplicationRole",
  "runConsumer",
  "setContext",
  "setNotNull",
  "useNewerVersion",
  "useOwners",
  "useTableOwner",
  "writeAsOther"
)

/**
 * @since 0.1.0
 * @category models
 */
export type HostAction = typeof HostAction.Type

/**
 * A command line that mends it, word by word.
 *
 * @since 0.1.0
 * @category models
 */
export const CommandMend = Schema.TaggedStruct("command", { argv: Argv })

/**
 * Statements that mend it, and the command to run after them, if there is one.
 *
 * @since 0.1.0
 * @category models
 */
export const SqlMend = Schema.TaggedStruct("sql", {
  statements: Schema.NonEmptyArray(Schema.String),
  then: Schema.NullOr(Argv)
})

/**
 * Something that the host does. `then` is the command to run after it, `or` a command that may be run instead.
 *
 * @since 0.1.0
 * @category models
 */
export const HostMend = Schema.TaggedStruct("host", {
  action: HostAction,
  names: Schema.Array(Schema.String),
  then: Schema.NullOr(Argv),
  or: Schema.NullOr(Argv)
})

/**
 * What mends a finding or a refusal. `describeMend` gives it as a sentence.
 *
 * @since 0.1.0
 * @category models
 */
export const Mend = Schema.Union(CommandMend, SqlMend, HostMend).annotations({ identifier: "threadline.Capture.Mend" })

/**
 * @since 0.1.0
 * @category models
 */
export type Mend = typeof Mend.Type

export const commandMend = (argv: Argv): Mend => ({ _tag: "command", argv })

export const sqlMend = (statements: readonly [string, ...ReadonlyArray<string>], then: Argv | null = null): Mend => ({
  _tag: "sql",
  statements,
  then
})

export const hostMend = (
  action: HostAction,
  names: ReadonlyArray<string> = [],
  follow: { readonly then?: Argv; readonly or?: Argv } = {}
): Mend => ({ _tag: "host", action, names, then: follow.then ?? null, or: follow.or ?? null })

export const applyCommand: Argv = ["threadline", "capture", "apply"]

export const migrateCommand: Argv = ["threadline", "migrate", "up"]

export const watchCommand: Argv = [...migrateCommand, "--watch-schema"]

export const readerCommand = (role: string): Argv => ["threadline", "grant", "--reader", role]

export const removeCommand = (table: string): Argv => ["threadline", "capture", "remove", "--table", table]
