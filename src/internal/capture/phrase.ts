/**
 * Steps, findings, refusals and mends in words. No other file of capture writes sentences, and no program reads them.
 */
import { shellWord } from "../core/shell.js"
import { didYouMean, many } from "../core/words.js"
import type { ColumnDifferences, Difference } from "./difference.js"
import type { Finding } from "./finding.js"
import type { Argv, HostAction, Mend } from "./mend.js"
import type { KeyProblem, Refusal, RowModeReason } from "./refusal.js"
import type { RelationRepair, Step } from "./step.js"
import { describeWatch } from "../sql/watch.js"

const list = (names: ReadonlyArray<string>): string => names.join(", ")

const keyText = (key: ReadonlyArray<string>): string => (key.length === 0 ? "none" : `(${list(key)})`)

const commandLine = (argv: Argv): string => argv.map(shellWord).join(" ")

const differenceWords = (difference: Difference): ReadonlyArray<string> => {
  switch (difference._tag) {
    case "mode":
    case "truncate":
      return [`${difference._tag} ${difference.to} instead of ${difference.from}`]
    case "always":
      return [difference.to ? "capture always" : "no longer capture always"]
    case "key":
      return [`key ${keyText(difference.to)} instead of ${keyText(difference.from)}`]
    case "exclude":
    case "mask":
      return [
        ...(difference.added.length > 0 ? [`${difference._tag} ${list(difference.added)}`] : []),
        ...(difference.removed.length > 0 ? [`no longer ${difference._tag} ${list(difference.removed)}`] : [])
      ]
    case "acknowledgeCasts":
      return [difference.to ? "casts acknowledged" : "casts no longer acknowledged"]
    case "dropGuard":
      return [difference.to ? "guarded against being dropped" : "no longer guarded against being dropped"]
    case "columns": {
      const { added, dropped, renamed, retyped } = difference.columns
      return [
        ...renamed.map(({ from, to }) => `column ${from} is now ${to}`),
        ...(added.length > 0 ? [`new columns ${list(added)}`] : []),
        ...(dropped.length > 0 ? [`columns gone ${list(dropped)}`] : []),
        ...(retyped.length > 0 ? [`other types of ${list(retyped)}`] : [])
      ]
    }
    case "formerly":
      return [
        ...(difference.added.length > 0 ? [`formerly ${list(difference.added)}`] : []),
        ...(difference.removed.length > 0 ? [`no longer formerly ${list(difference.removed)}`] : [])
      ]
    case "columnDetails":
      return ["details of its columns"]
  }
}

const differencesText = (differences: ReadonlyArray<Difference>): string =>
  differences.flatMap(differenceWords).join("; ")

const repairText = (repair: RelationRepair): string => {
  const { altered, disabled, missing, otherwiseEnabled, relation, surplus } = repair
  return `triggers of ${relation}: ${[
    ...missing.map((name) => `${name} missing`),
    ...altered.map((name) => `${name} altered`),
    ...disabled.map((name) => `${name} disabled`),
    ...otherwiseEnabled.map((name) => `${name} enabled otherwise`),
    ...surplus.map((name) => `${name} not needed`)
  ].join(", ")}`
}

const lapseWords = ({ lapse }: { readonly lapse: boolean }): ReadonlyArray<string> =>
  lapse ? ["note the lapse since the table was last known"] : []

/** What a step does, in a sentence without its table. */
export const describeStep = (step: Step): string => {
  switch (step.kind) {
    case "attach":
      return [
        `capture by ${step.mode} triggers`,
        ...(step.lapsedSince === null ? [] : [`again, after a lapse since ${step.lapsedSince}`]),
        step.key.length === 0 ? "no key" : `key ${keyText(step.key)}`,
        ...(step.partitions > 0 ? [many(step.partitions, "partition")] : []),
        ...(step.exclude.length > 0 ? [`without ${list(step.exclude)}`] : []),
        ...(step.mask.length > 0 ? [`masking ${list(step.mask)}`] : []),
        ...(step.truncate === "event" ? [] : [`truncate: ${step.truncate}`]),
        ...(step.truncateUnseen.length === 0
          ? []
          : [`TRUNCATE of ${list(step.truncateUnseen)} is not seen before PostgreSQL 16`]),
        ...(step.unlogged.length === 0 ? [] : [`unlogged, so that a crash empties it: ${list(step.unlogged)}`])
      ].join("; ")
    case "regenerate":
      return [
        `regenerate: ${step.differences.length === 0 ? "the code differs" : differencesText(step.differences)}`,
        ...step.relations.map(repairText),
        ...lapseWords(step)
      ].join("; ")
    case "attach partition":
      return [
        `capture partition ${step.partition}${step.marked ? ", and write its rows as baseline" : ""}`,
        ...lapseWords(step)
      ].join("; ")
    case "detach partition":
      return [
        step.gone
          ? `forget partition ${step.partition}, which is gone`
          : `end the capture of ${step.partition}, which left the table${step.marked ? ", and write its rows as deleted" : ""}`,
        ...lapseWords(step)
      ].join("; ")
    case "repair":
      return [
        ...step.relations.map(repairText),
        ...step.missingFunctions.map((name) => `function ${name} missing`),
        ...step.alteredFunctions.map((name) => `function ${name} altered`),
        ...step.foreignFunctions.map(({ name, owner }) => `function ${name} owned by ${owner}`),
        ...(step.granted === null ? [] : [`let ${step.granted} read the rows that TRUNCATE removes`]),
        ...lapseWords(step)
      ].join("; ")
    case "refresh":
      return [
        ...(step.differences.length > 0
          ? [`record ${differencesText(step.differences)}`]
          : step.lapse
            ? []
            : ["record which table has this name now"]),
        ...lapseWords(step)
      ].join("; ")
    case "follow":
      return step.formerly === step.table
        ? "note the names that it had for a while"
        : `the history of ${step.formerly} goes on here`
    case "detach":
      return `end its capture: ${
        step.reason === "requested"
          ? "removed on request"
          : step.reason === "not configured"
            ? "it is no longer configured"
            : `it is captured as ${step.capturedAs} now`
      }; its history stays`
  }
}

const rowModeText = ({ cause, relation }: RowModeReason): string => {
  switch (cause) {
    case "foreign table":
      return "it is a foreign table"
    case "foreign partition":
      return `its partition ${relation} is a foreign table`
    case "foreign server":
      return "a foreign table may become its partition, and then PostgreSQL refuses writes that reach it"
    case "inherits":
      return "it inherits from another table"
    case "inherited":
      return "other tables inherit from it"
    case "always":
      return "it is captured always, also under replication"
  }
}

const keyProblemText = ({ index, key, nullable }: KeyProblem): string =>
  nullable.length > 0
    ? `the key ${keyText(key)} may be null in ${list(nullable)}`
    : index === null
      ? `no unique index covers exactly ${keyText(key)}`
      : `index ${index} over ${keyText(key)} does not identify rows`

const columnsText = ({ added, dropped, renamed, retyped }: ColumnDifferences): string =>
  [
    ...added.map((name) => `${name} is new`),
    ...dropped.map((name) => `${name} is gone`),
    ...renamed.map(({ from, to }) => `${from} is now ${to}`),
    ...retyped.map((name) => `${name} has another type`)
  ].join(", ")

type FindingOf<Kind extends Finding["kind"]> = Extract<Finding, { readonly kind: Kind }>

const keyChangeText = ({ key, missing, primaryKey, problem }: FindingOf<"KeyChanged">): string => {
  if (missing.length > 0) {
    return `key columns are gone or renamed: ${list(missing)}`
  }
  if (primaryKey !== null) {
    return `its primary key is now ${keyText(primaryKey)}, captured is ${keyText(key)}`
  }
  return problem === null ? "its key is not usable" : keyProblemText(problem)
}

const missingRedactionText = ({ missing, renamed }: FindingOf<"RedactedColumnMissing">): string =>
  renamed.length > 0
    ? `redacted columns have other names now: ${renamed.map(({ from, to }) => `${from} is ${to}`).join(", ")}; ` +
      "until threadline capture apply, nothing is stored in the clear under either name"
    : `redacted columns are gone or renamed: ${list(missing)}; ` +
      "until threadline capture apply, every column new since then is masked"

const disabledText = ({ disabled, otherwiseEnabled, relation }: FindingOf<"TriggerDisabled">): string =>
  [
    ...(disabled.length > 0 ? [`triggers of ${relation} are disabled: ${list(disabled)}`] : []),
    ...(otherwiseEnabled.length > 0
      ? [`triggers of ${relation} fire only under replication, or not under it: ${list(otherwiseEnabled)}`]
      : [])
  ].join("; ")

/** A finding in a sentence without its table. */
export const describeFinding = (finding: Finding): string => {
  const subjects = list(finding.subjects)
  switch (finding.kind) {
    case "NotCaptured":
      return "it is configured and not captured"
    case "NotConfigured":
      return "it is captured and not configured"
    case "ConfigurationRefused":
      return `${describeRefusal(finding.refusal)} (${finding.refusal.reason})`
    case "ConfigurationDiffers":
      return `configured: ${differencesText(finding.differences)}`
    case "TableGone":
      return "it no longer exists; its history does"
    case "TableRenamed":
      return `it is now ${finding.now}`
    case "IdentityChanged":
      return "it was restored, copied or made anew since its policy was applied"
    case "NameFollowed":
      return `it is captured by the triggers of a name that it had before, ${subjects}: each write looks up the one that it has now`
    case "TableReplaced":
      return "another table has its name, or had it for a while: nothing is known of its rows since then"
    case "TableUnlogged":
      return finding.restarted
        ? "it is unlogged, or was, and the server was started anew or has recovered from a crash: that may have emptied it, and nothing is known of its rows since then"
        : "it is unlogged: a crash empties it, and its rows are not known from then on"
    case "TriggersElsewhere":
      return `tables that are not captured have its triggers: ${subjects}; they are recorded under their own names`
    case "PartitionReplaced":
      return `partitions left and came back, or others have their names: ${subjects}; nothing is known of its rows since then`
    case "RowsRewritten":
      return finding.unread
        ? `ALTER TABLE may have changed ${subjects}, and its rows cannot be read now: until then nothing is said of them`
        : `ALTER TABLE has written its rows anew, or made columns anew, and may have changed ${subjects}: nothing is known of its rows since then`
    case "ValuesShownOtherwise":
      return `values of ${subjects} have other texts, because types were altered or are new: ${list(finding.types)}; nothing is known of its rows since then`
    case "ColumnsChanged":
      return `columns changed since its triggers were generated: ${columnsText(finding.columns)}`
    case "KeyChanged":
      return keyChangeText(finding)
    case "KeyValuesRenamed":
      return `types in its key have other values or attributes, and keys have other texts: ${subjects}; nothing is known of its rows since then`
    case "AlteredMeanwhile":
      return "its name, its triggers, its key, its parents, its partitions or the values of its rows were altered for a while: nothing is known of its rows since then"
    case "NoKey":
      return "it has no key: its rows have no history of their own"
    case "RedactedColumnMissing":
      return missingRedactionText(finding)
    case "SourceOutdated":
      return "this version of Threadline generates other triggers"
    case "FunctionMissing":
      return `functions are missing: ${subjects}`
    case "FunctionAltered":
      return `functions were altered: ${subjects}`
    case "TriggerMissing":
      return `triggers are missing on ${finding.relation}: ${subjects}`
    case "TriggerDisabled":
      return disabledText(finding)
    case "TriggerAltered":
      return `triggers of ${finding.relation} are not Threadline's own: ${subjects}`
    case "TriggerReplaceable":
      return `roles that do not own it may replace its triggers, and so end its capture: ${subjects}`
    case "PartitionAttached":
      return finding.rowsSeen
        ? `partition ${finding.partition} was attached; its rows are captured, and a TRUNCATE of it alone is not`
        : `partition ${finding.partition} was attached and is not captured when it is written to directly`
    case "PartitionDetached":
      return finding.gone
        ? `partitions are gone: ${subjects}; nothing is known of its rows since then`
        : `these left the table with its triggers, and are recorded under their own names: ${subjects}; ` +
            "nothing is known of its rows since then"
    case "ChildNotCaptured":
      return `tables that inherit from it are not captured: ${subjects}`
    case "RootNotCaptured":
      return `it is a partition of ${finding.root}, which is not captured: what is written through that table may be missing`
    case "ModeUnsuitable":
      return finding.why.cause === "foreign server"
        ? `statement mode may stop working here: ${rowModeText(finding.why)}`
        : `statement mode does not work here: ${rowModeText(finding.why)}`
    case "HostCast":
      return `types have a cast to json that capture runs as ${finding.owner}: ${subjects}`
    case "ComputedFromRedacted":
      return finding.shown
        ? `columns are computed from redacted ones (${list(finding.from)}) and show what these hold: ${subjects}`
        : `virtual columns are computed from redacted ones (${list(finding.from)}); no image has them: ${subjects}`
    case "HostRowTrigger":
      return `it has row triggers of its own: ${subjects}; what they write to the same row is put in order as it is captured`
    case "TruncateUnseen":
      return `TRUNCATE of foreign tables fires no trigger before PostgreSQL 16, and leaves nothing: ${subjects}`
    case "TruncateUnreadable":
      return (
        `${finding.owner} cannot read ${subjects}: ` +
        "TRUNCATE is recorded with an estimate and without rows, and refused if the policy keeps them"
      )
    case "OwnerIsSuperuser":
      return `its capture functions run as superuser ${finding.owner}`
    case "OwnerCanLogin":
      return `the record belongs to ${finding.owner}, a role that can log in: anyone who logs in as it can change the record`
    case "OwnerHasMembers":
      return `roles that may act as ${finding.owner}, which owns the record, can change it: ${subjects}`
    case "RecordRowSecurity":
      return `row-level security may hide rows of the record from readers: ${subjects}`
    case "RecordUnidentified":
      return `writes fail once a publication covers these tables of the record: ${subjects}`
    case "WatchBroken":
      return `the schema watch does not see everything: ${describeWatch(finding.problems)}`
    case "GuardOff":
      return `its drop guard refuses nothing: the schema watch is ${finding.watch}`
    case "WatchFailed":
      return "the schema watch could not do its work, or saw something begin and not end: nothing is known of its rows since then"
    case "RecordNotOwned":
      return `parts of the record do not belong to ${finding.owner}, and ${list(finding.owners)} may change them: ${subjects}`
    case "RecordWritable":
      return finding.everything
        ? `roles that may write every table may write the record too: ${subjects}`
        : `roles other than its owner may write the record: ${subjects}`
  }
}

const relationKinds = {
  view: "a view",
  "materialized view": "a materialized view",
  sequence: "a sequence",
  "composite type": "a composite type",
  index: "an index",
  "TOAST table": "a TOAST table",
  other: "no table"
} as const

const privilegeText = ({
  lacks,
  owner,
  relation,
  role,
  serverMessage
}: Extract<Refusal, { readonly reason: "InsufficientPrivilege" }>): string => {
  switch (lacks) {
    case "membership":
      return (
        `role ${role} may not act as ${owner}, which owns Threadline's schema: ` +
        "capture requires membership in it, and the TRIGGER privilege on the table"
      )
    case "inheritance":
      return `role ${role} does not inherit the privileges of ${owner}, which owns Threadline's schema`
    case "record":
      return `role ${role} may not read the record, which belongs to ${owner}`
    case "trigger":
      return `role ${role} may not create triggers on ${relation}`
    case "ownership":
      return `role ${role} does not own ${relation}, whose triggers must be dropped or enabled`
    case "read":
      return `${owner} cannot read ${relation} to keep the rows that TRUNCATE removes, and role ${role} may not let it`
    case "rows":
      return `${owner} may not read ${relation}: capture apply gives it that right, also on a partition that came since`
    case "lock":
      return `role ${role} may not lock rows of ${relation} for a moment, which takes the UPDATE privilege`
    case "unknown":
      return `the database role lacks a privilege (${serverMessage})`
  }
}

const formerNameRule = ({ name, of, why }: Extract<Refusal, { readonly reason: "FormerNameUnusable" }>): string => {
  switch (why) {
    case "present name":
      return `formerly names ${name}, which is its present name`
    case "twice":
      return `formerly names ${name}, and so does ${of}: it was only one of them`
    case "circle":
      return `formerly names ${name}, which declares this one as its own former name`
    case "never seen":
      return `formerly names ${name}, of which nothing is recorded`
  }
}

/** A refusal in a sentence without its table. */
export const describeRefusal = (refusal: Refusal): string => {
  switch (refusal.reason) {
    case "UnknownTable":
      return "there is no such table"
    case "UnknownColumn":
      return refusal.virtual
        ? `${refusal.option} names column ${refusal.column}, which is generated when it is read: no change holds it`
        : `${refusal.option} names column ${refusal.column}, which the table does not have`
    case "DuplicateTable":
      return "the configuration names it twice"
    case "FormerNameUnusable":
      return formerNameRule(refusal)
    case "OwnTable":
      return "it belongs to Threadline"
    case "SystemTable":
      return "it belongs to PostgreSQL"
    case "NotATable":
      return `it is ${relationKinds[refusal.relationKind]}`
    case "TemporaryTable":
      return "it is a temporary table"
    case "PartitionNamed":
      return `it is a partition of ${refusal.root}`
    case "KeyRedacted":
      return `column ${refusal.column} belongs to the key, which every change carries in the clear`
    case "KeyUnusable":
      return keyProblemText(refusal.problem)
    case "KeyDiffers":
      return `the key given is ${keyText(refusal.key)}, the primary key is ${keyText(refusal.primaryKey)}`
    case "ExcludedAndMasked":
      return `column ${refusal.column} is both excluded and masked`
    case "RedactedTwice":
      return `${refusal.columns[0]} and ${refusal.columns[1]} are one, or one is a part of the other`
    case "PathUnsupported":
      return `${refusal.path} is a path into column ${refusal.column}, which is of type ${refusal.type} and not json or jsonb`
    case "HostCast":
      return (
        `column ${refusal.column}: type ${list(refusal.types)} has a cast to json that the owner of the type can write, ` +
        `and capture would run it as ${refusal.owner}`
      )
    case "ModeUnsupported":
      return `statement mode does not work here: ${rowModeText(refusal.why)}`
    case "TruncateUnsupported":
      return refusal.why === "foreign table"
        ? `${refusal.relation} is a foreign table, whose rows may not be readable when it is truncated`
        : `${refusal.relation} has row-level security, which may hide rows from ${refusal.owner}`
    case "NameCollision":
      return refusal.object === "trigger"
        ? `${refusal.of} has triggers that this Threadline did not make: ${list(refusal.names)}`
        : `its function ${list(refusal.names)} belongs to ${refusal.of ?? "somebody else"} already`
    case "LessRedaction":
      return `${list(refusal.columns)} would be more visible than when the table was last captured`
    case "WatchMissing":
      return `a drop guard needs the schema watch, which is ${refusal.watch}`
    case "NotCaptured":
      return "it is not captured"
    case "InsufficientPrivilege":
      return privilegeText(refusal)
    case "RowsHidden":
      return `row-level security may hide rows of ${refusal.relation} from ${refusal.role}`
    case "LapseOpen":
      return "nothing is known of it at present"
    case "BaselineUnsupported":
      return refusal.why === "no key"
        ? "it has no key, so that its rows cannot be told apart"
        : `${refusal.relation} is a foreign table, whose rows change unseen`
    case "LockNotAvailable":
      return `its locks could not be had in time (${refusal.serverMessage})`
    case "InsideTransaction":
      return refusal.operation === "baseline"
        ? "a baseline is recorded in short transactions of its own, not inside another"
        : `capture is ${refusal.operation === "apply" ? "applied" : "removed"} in short transactions of its own, not inside another`
  }
}

const actions: Readonly<Record<HostAction, (names: ReadonlyArray<string>) => string>> = {
  allowLessRedaction: () => "restore the redaction, or allow less redaction",
  applyLater: () =>
    "apply again when long transactions on it have ended, or allow a longer lock timeout; tables before it are done",
  callOutsideTransaction: () => "call it outside of a transaction",
  captureAlways: (names) => `set always: true for ${list(names)}`,
  captureApplicationTables: () => "capture the tables of the application",
  capturePermanentTables: () => "only permanent tables are captured",
  captureTables: () => "only tables are captured",
  captureTablesUnder: () => "capture the tables under it",
  changeIndex: () => "it must be unique, valid, checked at once, and without a predicate",
  changeLoginOwner: () => "let a role that cannot log in own Threadline's schema",
  changeOwner: () => "let a role without superuser rights own Threadline's schema",
  chooseTruncate: () => `use truncate "event" or "refuse"`,
  configure: () => "configure it",
  changePersistence: (names) => `alter table ${list(names)} set logged, or do without its history after a crash`,
  configureChildren: () => "configure them too",
  configureInstead: (names) => `configure ${list(names)} in its place`,
  correctColumn: (names) => `it was renamed to ${list(names)} since the table was last applied`,
  correctContext: (names) => `correct what the application gives as ${list(names)}; the write itself succeeded`,
  correctExpected: () => "correct expected or expectedGaps of the configuration",
  correctKey: () => "correct the key",
  correctRedaction: () => "correct exclude and mask",
  createUniqueIndex: () => "create a unique index for the key, or leave the key out",
  declareKey: () => "give it a primary key, or declare a key",
  dropCast: () => "drop the cast, or set acknowledgeCasts; excluding the column does not keep the cast from running",
  redactComputed: (names) => `exclude or mask ${list(names)} too`,
  keyUncomputed: (names) => `use a key without ${list(names)}: a key is in the clear`,
  redactSensitive: (names) =>
    `exclude or mask ${list(names)}, or name it in sensitive.acknowledged of the configuration`,
  removeGap: (names) => `leave ${list(names)} out of expectedGaps, or end its capture`,
  dropCasts: () => "drop the casts, or set acknowledgeCasts",
  keepOne: () => "keep one of the two",
  mendEventTrigger: () =>
    "let that function run with the rights of its owner (security definer), or disable the event trigger meanwhile",
  leaveKeyOut: () => "a table that has a primary key is identified by it: leave the key out",
  leaveModeOut: () => `leave mode out, or use "row"`,
  leaveOut: (names) => `leave it out of ${names.join(" and ")}`,
  listCaptured: () => "capture status lists the tables that are",
  nameAsInSql: () => "name it as in SQL; a table without a schema is looked up in public",
  nameColumnsExactly: () => "columns are given by their exact names",
  nameInConfiguration: () => "name it in threadline.config.ts",
  nameMeant: (names) => `${didYouMean} ${list(names)}?`,
  nameRenamed: (names) => `it seems to have been renamed to ${list(names)}: name that instead`,
  nameRoot: (names) => `name ${list(names)}: its partitions are captured with it`,
  renameFunction: () => "rename that function",
  renameTable: () => "rename one of the tables",
  renameTrigger: () => "rename them; if Threadline in another schema made them, name that schema",
  resetReplicationRole: (names) => `reset session_replication_role for ${list(names)}, or capture the tables always`,
  runConsumer: (names) => `let ${list(names)} run`,
  setContext: (names) =>
    `let ${names.length === 0 ? "whatever has no application_name" : list(names)} write in audited transactions, or set a context`,
  setNotNull: () => "set the columns not null, or leave the key out",
  useNewerVersion: () => "use that version of Threadline or a later one",
  useOwners: () => "use a role that owns the table and is a member of the owner of Threadline's schema",
  useTableOwner: () => "use the table's owner",
  writeAsOther: (names) => `let the application write as a role that is no member of the owner: not ${list(names)}`
}

/** What to do, in a sentence or as a command to copy. */
export const describeMend = (mend: Mend): string => {
  switch (mend._tag) {
    case "command":
      return commandLine(mend.argv)
    case "sql":
      return [mend.statements.join("; "), ...(mend.then === null ? [] : [`then ${commandLine(mend.then)}`])].join(", ")
    case "host":
      return [
        actions[mend.action](mend.names),
        ...(mend.then === null ? [] : [`then ${commandLine(mend.then)}`]),
        ...(mend.or === null ? [] : [`or ${commandLine(mend.or)}`])
      ].join(", ")
  }
}
