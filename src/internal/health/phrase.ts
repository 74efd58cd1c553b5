/**
 * The facts of health in words.
 */
import { many } from "../core/words.js"
import { mostDefaultRows, mostTransactions } from "./bounds.js"
import type { Fact } from "./fact.js"

const list = (names: ReadonlyArray<string>): string => names.join(", ")

const toTheSecond = (instant: string): string => `${instant.slice(0, 19).replace("T", " ")} UTC`

const ofNewest = (sampled: boolean): string => (sampled ? ` of the newest ${mostTransactions}` : "")

const canaryReasons: Readonly<Record<Extract<Fact, { readonly kind: "CanaryUnknown" }>["why"], string>> = {
  empty: "it has no row",
  locked: "its rows are locked",
  privilege: "the role may not change it",
  column: "it has no column that can be changed without knowing what it means",
  refused: "the database or a trigger refused each change",
  standby: "the server is a standby, which writes nothing"
}

/** A fact in a sentence without its object. */
export const describeFact = (fact: Fact): string => {
  switch (fact.kind) {
    case "TableUncovered":
      return "it is expected to be captured, and is not"
    case "TableUnknown":
      return fact.declared === "expected"
        ? "it is expected to be captured, and there is no such table"
        : "it is declared as a gap, and there is no such table"
    case "GapCovered":
      return `it is declared as a gap (${fact.reason}), and it is captured`
    case "SensitiveInClear":
      return `columns that look sensitive are recorded as they are: ${list(fact.columns)}`
    case "OwnerIsApplication":
      return `roles that write the application's data may act as its owner ${fact.owner}, and so change the record: ${list(fact.roles)}`
    case "PartitionsMissing":
      return fact.until === null
        ? "it has no partition but the default one, to which all changes go"
        : fact.now
          ? `its last partition ended at ${toTheSecond(fact.until)}: changes go to the default partition`
          : `its last partition ends at ${toTheSecond(fact.until)}: changes after it go to the default partition`
    case "DefaultPartitionUsed":
      return `${fact.atLeast >= mostDefaultRows ? `${mostDefaultRows} changes or more are` : many(fact.atLeast, "change is", "changes are")} in its default partition, which reads always look through`
    case "IndexMissing":
      return `indexes are missing, and reads are slow without them: ${list(fact.indexes)}`
    case "IndexInvalid":
      return `indexes are not valid, and no read uses them: ${list(fact.indexes)}`
    case "RecordUnlogged":
      return `tables of it are unlogged, and a crash empties them: ${list(fact.tables)}`
    case "SchemaVersion":
      return fact.installed < fact.known
        ? `it is at ${fact.installed} of ${fact.known} migrations`
        : `it was migrated by a newer version: ${fact.installed} migrations, of which ${fact.known} are known here`
    case "ReplicaSessions":
      return `session_replication_role is replica, so that no trigger fires unless its table is captured always: ${list(fact.settings)}`
    case "ReplicaAllowed":
      return `these roles may set session_replication_role, and so write without being captured: ${list(fact.roles)}`
    case "SubscriptionUnseen":
      return `${many(fact.subscriptions, "subscription writes", "subscriptions write")} it, and its triggers do not fire for that`
    case "ConsumerBehind":
      return fact.since === null
        ? "this consumer of the feed has stored no checkpoint for a day: retention keeps everything for it"
        : `this consumer of the feed still needs changes since ${toTheSecond(fact.since)}: retention keeps them for it`
    case "UnattributedWrites":
      return `${many(fact.unattributed, "transaction has", "transactions have")} no actor, of ${many(fact.transactions, "transaction", "transactions")} of the last day${ofNewest(fact.sampled)}`
    case "ContextRefused":
      return `a part of the context was refused in ${many(fact.transactions, "transaction", "transactions")} of the last day${ofNewest(fact.sampled)} (${fact.problem})`
    case "CanaryFailed":
      return `a write of ${fact.relation} was not recorded`
    case "CanaryUnknown":
      return `a write of ${fact.relation} could not be tried: ${canaryReasons[fact.why]}`
    case "Unknown":
      return `${fact.part}: the role ${fact.role} may not look at it; it lacks ${fact.lacks}`
  }
}
