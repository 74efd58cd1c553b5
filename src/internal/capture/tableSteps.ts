/**
 * The steps of one table: to capture it, to mend what is installed, to take in partitions, to take away what nothing calls any more.
 */
import type { Catalog } from "./catalogModel.js"
import { differences } from "./compare.js"
import { staleFunctions } from "./detach.js"
import {
  columnChanges,
  functionState,
  installedSource,
  lessRedaction,
  partitionLabels,
  policyName,
  relationState,
  type RelationState,
  supersededPolicies,
  truncateUnseen,
  unknownTo,
  unloggedRelations
} from "./diff.js"
import type { Difference } from "./difference.js"
import { formerColumnsOf, formerNamesOf } from "./formerly.js"
import { partitionTriggers } from "./generate/generate.js"
import { type Generated, generatorVersion } from "./generate/model.js"
import { functionStatements } from "./generate/print.js"
import type { Policy } from "./model.js"
import { redactionNames } from "./redaction.js"
import { findDeployed, findGap, label, type Resolved, sameName } from "./resolve.js"
import * as statements from "./statements.js"
import type { Step } from "./step.js"
import type { PlanOptions } from "./tablePlan.js"
import { drops, enables, grantsFor, makes, needsWork, relationRepair, toMake } from "./triggerWork.js"

/** Everything that the steps of a table follow from. */
export interface Situation {
  readonly storage: string
  readonly catalog: Catalog
  readonly resolved: Resolved
  readonly options: PlanOptions
  readonly source: Generated
  /** Whether a policy of this name is deployed, and whether it is that of this very table. */
  readonly policy: Policy | undefined
  readonly isSameTable: boolean
  /** Since when a table that was captured before is no longer captured. */
  readonly removedAt: string | null
  /** When capture of the table broke, as the database sees it; null if it did not. */
  readonly gap: ReturnType<typeof findGap>["gap"]
  readonly states: ReadonlyArray<RelationState>
  /** Of `states`: partitions that the policy does not know, and the others. If everything is forced, one step takes in all. */
  readonly joined: ReadonlyArray<RelationState>
  readonly known: ReadonlyArray<RelationState>
  /** Policies of other names for what is now this table. */
  readonly superseded: ReadonlyArray<Policy>
  readonly functions: ReturnType<typeof functionState>
  readonly reasons: ReadonlyArray<Difference>
  readonly lessRedacted: ReadonlyArray<string>
  /** Everything is made anew. */
  readonly rebuild: boolean
}

export const situationOf = (
  storage: string,
  catalog: Catalog,
  resolved: Resolved,
  options: PlanOptions,
  source: Generated
): Situation => {
  const { name, shape, table } = resolved
  const states = table.relations.map((relation) =>
    relationState(storage, source, relation, shape, catalog.serverVersion)
  )
  const deployed = findDeployed(catalog, name)
  const policy = deployed?.policy.removedAt === null ? deployed.policy : undefined
  const { elsewhere, gap } = findGap(catalog, name)
  // In another database the same OID may be that of another table.
  const isSameTable = deployed?.relation === table.oid && !elsewhere
  const isUnknown = policy === undefined ? () => false : unknownTo(catalog, policy)
  const joined = options.force === true ? [] : states.filter(({ relation }) => isUnknown(relation))
  const superseded = supersededPolicies(catalog, name, table)
  return {
    storage,
    catalog,
    resolved,
    options,
    source,
    policy,
    isSameTable,
    removedAt: deployed?.policy.removedAt ?? null,
    gap: policy === undefined ? null : gap,
    states,
    joined,
    known: states.filter((state) => !joined.includes(state)),
    superseded,
    functions: functionState(catalog, source),
    reasons: policy === undefined ? [] : differences(policy, resolved, { isSameTable }),
    lessRedacted: lessRedaction(catalog, shape, table, superseded),
    rebuild:
      options.force === true ||
      policy === undefined ||
      policy.sourceHash !== source.sourceHash ||
      policy.generator !== generatorVersion ||
      superseded.length > 0
  }
}

const step = ({ resolved }: Situation, sql: ReadonlyArray<string>, redaction: ReadonlyArray<string> = []) => ({
  table: resolved.label,
  sql,
  lessRedaction: redaction
})

const asOwner = ({ catalog }: Situation, sql: ReadonlyArray<string>): ReadonlyArray<string> =>
  statements.asOwner(catalog.storage.owner, sql)

export const noteLapse = (situation: Situation): ReadonlyArray<string> =>
  asOwner(situation, [statements.noteLapse(situation.storage, situation.resolved.name)])

/** What the triggers need before they can be made: rights of the owner, and functions that are the owner's. */
const preparations = ({ catalog, functions, known, resolved, storage }: Situation) => ({
  grants: grantsFor(catalog, resolved, known),
  ownerChanges: functions.foreign.map((foreign) =>
    statements.giveFunction(storage, foreign.name, catalog.storage.owner)
  )
})

/** Writes the policy, and what it knows of former names. */
const writePolicy = (situation: Situation): ReadonlyArray<string> => {
  const { isSameTable, joined, policy, resolved, source, storage } = situation
  const { name, shape, table } = resolved
  // Before the policy is written, because the policy has the former names of the columns.
  const renamedColumns = policy === undefined ? [] : columnChanges(policy, shape.columns, { isSameTable }).renamed
  const formerNames = formerNamesOf(resolved.config)
  const formerColumns = formerColumnsOf(resolved.config)
  const declares =
    formerNames.length + formerColumns.length > 0 ||
    (policy?.formerNames ?? []).some(({ declared }) => declared) ||
    (policy?.formerColumns ?? []).some(({ declared }) => declared)
  return asOwner(situation, [
    ...(renamedColumns.length === 0 ? [] : [statements.renameColumns(storage, name, renamedColumns)]),
    statements.upsertPolicy(storage, shape, {
      partitions: partitionLabels(table),
      acknowledgeCasts: resolved.acknowledgeCasts,
      sourceHash: source.sourceHash,
      dropGuard: resolved.dropGuard,
      partitionTriggers: partitionTriggers(source)
    }),
    statements.makeWatchful(storage, name, joined.length > 0 ? "provisional" : "final"),
    ...(declares ? [statements.declareNames(storage, name, formerNames, formerColumns)] : [])
  ])
}

/** Makes everything anew: functions, triggers, policy. */
export const rebuildStep = (situation: Situation): Step => {
  const { catalog, functions, known, lessRedacted, options, policy, reasons, removedAt, resolved, source, storage } =
    situation
  const { shape, table } = resolved
  const { grants, ownerChanges } = preparations(situation)
  // It is made once more when the policy is written. But an event trigger of the host may write the table as soon as it has one of
  // these triggers, which ask this function.
  const watchful =
    options.force === true || functions.missing.includes(source.watchful)
      ? [statements.makeWatchful(storage, resolved.name, "provisional")]
      : []
  const built = step(
    situation,
    [
      // What is forced may be kept, and run if the table has been captured before.
      ...(policy === undefined && options.force !== true ? [] : noteLapse(situation)),
      ...drops(known),
      ...grants,
      ...ownerChanges,
      ...asOwner(situation, [
        ...source.functions.flatMap((triggerFunction) => functionStatements(storage, triggerFunction)),
        ...watchful
      ]),
      ...makes(known, options.force === true ? ({ expected }) => expected : toMake),
      ...enables(known),
      // Which partitions the policy does not know is asked when the SQL runs, before the new policy knows them all.
      ...(options.force === true && shape.partitioned
        ? asOwner(situation, [statements.partitionsJoined(storage, resolved.name)])
        : []),
      ...writePolicy(situation)
    ],
    lessRedacted
  )
  return policy === undefined
    ? {
        ...built,
        kind: "attach",
        mode: shape.mode,
        key: shape.key.map((column) => column.name),
        partitions: table.relations.length - 1,
        ...redactionNames(shape),
        truncate: shape.onTruncate,
        truncateUnseen: truncateUnseen(table, catalog.serverVersion),
        unlogged: unloggedRelations(table),
        lapsedSince: removedAt
      }
    : {
        ...built,
        kind: "regenerate",
        differences: reasons,
        relations: installedOtherwise(storage, catalog, policy, resolved, known),
        lapse: false
      }
}

/** Mends what is installed, if something of it is missing or altered, and writes the policy if that differs. */
export const mendSteps = (situation: Situation): ReadonlyArray<Step> => {
  const { catalog, functions, gap, isSameTable, known, lessRedacted, reasons, resolved, source, storage } = situation
  const { name } = resolved
  const { grants, ownerChanges } = preparations(situation)
  const broken = known.filter(needsWork)
  const lostFunctions = [...functions.missing, ...functions.altered]
  const repairs = broken.length + lostFunctions.length + grants.length + ownerChanges.length > 0
  const lapsed =
    repairs &&
    (gap !== null ||
      broken.some(
        ({ altered, disabled, missing, relation }) =>
          relation.level === 0 && altered.length + disabled.length + missing.length > 0
      ))
  const refreshes = reasons.length > 0 || !isSameTable || (gap !== null && !repairs)
  const repair = (): Step => ({
    ...step(situation, [
      ...(lapsed ? noteLapse(situation) : []),
      ...drops(broken),
      ...grants,
      ...ownerChanges,
      ...asOwner(situation, [
        ...source.functions
          .filter(({ name: functionName }) => lostFunctions.includes(functionName))
          .flatMap((triggerFunction) => functionStatements(storage, triggerFunction)),
        ...(lostFunctions.includes(source.watchful) ? [statements.makeWatchful(storage, name, "provisional")] : [])
      ]),
      ...makes(broken, toMake),
      ...enables(broken),
      // The policy has marks of the triggers, and writing it ends the lapse.
      ...(lapsed && !refreshes ? writePolicy(situation) : [])
    ]),
    kind: "repair",
    relations: broken.map(relationRepair),
    missingFunctions: functions.missing,
    alteredFunctions: functions.altered,
    foreignFunctions: functions.foreign.map((foreign) => ({ name: foreign.name, owner: foreign.owner })),
    granted: grants.length > 0 ? catalog.storage.owner : null,
    lapse: lapsed
  })
  const refresh = (): Step => ({
    ...step(situation, writePolicy(situation), lessRedacted),
    kind: "refresh",
    differences: reasons,
    lapse: gap !== null && !repairs
  })
  return [...(repairs ? [repair()] : []), ...(refreshes ? [refresh()] : [])]
}

/** Takes in the partitions that the policy does not know. */
export const joinSteps = (situation: Situation): ReadonlyArray<Step> => {
  const { catalog, joined, options, resolved, storage } = situation
  const { name } = resolved
  return joined.map((state, place): Step => {
    const partition = label(state.relation)
    return {
      ...step(situation, [
        ...drops([state]),
        ...grantsFor(catalog, resolved, [state]),
        ...toMake(state).flatMap(({ sql }) => sql),
        ...enables([state]),
        ...asOwner(situation, [
          statements.partitionJoined(storage, name, state.relation),
          statements.addPartition(storage, name, state.relation, partition),
          ...(options.markPartitions === true && state.relation.kind !== "p"
            ? [statements.markRows(storage, state.relation, name, "baseline")]
            : []),
          ...(place === joined.length - 1 ? [statements.makeWatchful(storage, name)] : [])
        ])
      ]),
      kind: "attach partition",
      partition,
      marked: options.markPartitions === true,
      lapse: false
    }
  })
}

/** Drops functions that nothing calls any more, and retires the policies that this one supersedes. */
const cleanup = (situation: Situation): ReadonlyArray<string> => {
  const { catalog, rebuild, resolved, storage, superseded } = situation
  const formerNames = formerNamesOf(resolved.config)
  const stale = rebuild ? staleFunctions(catalog, resolved, superseded) : []
  return asOwner(situation, [
    ...stale.map((functionName) => statements.dropFunction(storage, functionName)),
    ...superseded.map(policyName).flatMap((formerName) => [
      // If it is declared to be this table, its triggers prove that nothing was missed.
      ...(formerNames.some((declared) => sameName(declared, formerName))
        ? []
        : [statements.noteLapse(storage, formerName)]),
      statements.retirePolicy(storage, formerName)
    ])
  ])
}

/** The steps with the cleanup at their end: a part of the last one, or one of its own if it says something. */
export const withCleanup = (situation: Situation, steps: ReadonlyArray<Step>): ReadonlyArray<Step> => {
  const { resolved, superseded } = situation
  const last = steps.at(-1)
  if (last === undefined) {
    return steps
  }
  return superseded[0] === undefined
    ? [...steps.slice(0, -1), { ...last, sql: [...last.sql, ...cleanup(situation)] }]
    : [
        ...steps,
        {
          kind: "detach",
          table: label(policyName(superseded[0])),
          reason: "superseded",
          capturedAs: resolved.label,
          sql: cleanup(situation),
          lessRedaction: []
        }
      ]
}

/** Relations whose triggers are not those of the policy to regenerate: they were changed, or names were exchanged. */
const installedOtherwise = (
  storage: string,
  catalog: Catalog,
  policy: Policy,
  { table }: Resolved,
  states: ReadonlyArray<RelationState>
) => {
  const { shape, source } = installedSource(storage, policy, table)
  return states
    .map(({ relation }) => relationState(storage, source, relation, shape, catalog.serverVersion))
    .filter(needsWork)
    .map(relationRepair)
}
