/**
 * The steps from what is installed to what is configured, for one table. Everything is computed from one snapshot of the catalog.
 * The same plan is shown and printed. It is computed again under a lock, and applied.
 */
import * as Either from "effect/Either"
import type { Catalog, Name, Relation } from "./catalogModel.js"
import { CaptureError } from "./captureError.js"
import { differences } from "./compare.js"
import { partitionsThatLeft, staleFunctions } from "./detach.js"
import { followed, followSteps, formerNameOf, goneBearers, heirSteps } from "./follow.js"
import { formerColumnsOf, formerNamesOf } from "./formerly.js"
import {
  columnChanges,
  type Expected,
  functionState,
  installedSource,
  lessRedaction,
  partitionLabels,
  policyName,
  relationState,
  type RelationState,
  supersededPolicies,
  truncateUnseen,
  unloggedRelations
} from "./diff.js"
import { functionNames, isWatchful } from "./generate/names.js"
import { hostMend } from "./mend.js"
import type { Policy } from "./model.js"
import { redactionNames } from "./redaction.js"
import type { Step } from "./step.js"
import { findDeployed, findGap, label, type Resolved, sameName } from "./resolve.js"
import { generate, partitionTriggers } from "./generate/generate.js"
import { generatorVersion } from "./generate/model.js"
import { functionStatements } from "./generate/print.js"
import { isSpread, spreadOf } from "./spread.js"
import * as statements from "./statements.js"
import type { Need, PlanOptions, TablePlan } from "./tablePlan.js"

export const planTable = (
  storage: string,
  present: Catalog,
  resolved: Resolved,
  options: PlanOptions
): Either.Either<TablePlan, CaptureError> => {
  const catalog = followed(present)
  const { name, shape, table } = resolved
  const source = generate(storage, shape)
  const states = table.relations.map((relation) =>
    relationState(storage, source, relation, shape, catalog.serverVersion)
  )
  const colliding = states.find((state) => state.colliding.length > 0)
  if (colliding !== undefined) {
    return Either.left(
      new CaptureError({
        table: resolved.label,
        refusal: {
          reason: "NameCollision",
          object: "trigger",
          names: colliding.colliding,
          of: label(colliding.relation)
        },
        mend: hostMend("renameTrigger")
      })
    )
  }

  const deployed = findDeployed(catalog, name)
  const policy = deployed?.policy.removedAt === null ? deployed.policy : undefined
  const gap = policy === undefined ? null : findGap(catalog, name).gap
  const formerPartitions = new Set(policy?.partitions)
  const joined = policy === undefined || options.force === true ? [] : states.filter(isJoined(formerPartitions))
  const knownStates = states.filter((state) => !joined.includes(state))
  const superseded = supersededPolicies(catalog, name, table)
  const owner = catalog.storage.owner
  const grants = grantsFor(catalog, resolved, knownStates)
  const lessRedacted = lessRedaction(catalog, shape, table, superseded)
  const functions = functionState(catalog, source)
  const ownerChanges = functions.foreign.map((foreign) => statements.giveFunction(storage, foreign.name, owner))
  const step = (sql: ReadonlyArray<string>, redaction: ReadonlyArray<string> = []) => ({
    table: resolved.label,
    sql,
    lessRedaction: redaction
  })
  const upsert = statements.upsertPolicy(storage, shape, {
    partitions: partitionLabels(table),
    acknowledgeCasts: resolved.acknowledgeCasts,
    sourceHash: source.sourceHash,
    dropGuard: resolved.dropGuard,
    partitionTriggers: partitionTriggers(source)
  })

  const reasons = policy === undefined ? [] : differences(policy, resolved, deployed?.relation === table.oid)
  const rebuild =
    options.force === true ||
    policy === undefined ||
    policy.sourceHash !== source.sourceHash ||
    policy.generator !== generatorVersion ||
    superseded.length > 0

  // Before the policy is written, because the policy has the former names of the columns.
  const renamedColumns =
    policy === undefined || deployed?.relation !== table.oid ? [] : columnChanges(policy, shape.columns, true).renamed
  const formerNames = formerNamesOf(resolved.config)
  const formerColumns = formerColumnsOf(resolved.config)
  const isDeclared = (policy?.formerNames ?? []).some(({ declared }) => declared)
  const isColumnDeclared = (policy?.formerColumns ?? []).some(({ declared }) => declared)
  const written = statements.asOwner(owner, [
    ...(renamedColumns.length === 0 ? [] : [statements.renameColumns(storage, name, renamedColumns)]),
    upsert,
    statements.makeWatchful(storage, name, joined.length > 0),
    ...(formerNames.length + formerColumns.length > 0 || isDeclared || isColumnDeclared
      ? [statements.declareNames(storage, name, formerNames, formerColumns)]
      : [])
  ])

  const steps: Array<Step> = partitionsThatLeft(storage, catalog, resolved, policy, superseded, options)

  if (rebuild) {
    const built = step(
      [
        // What is forced may be kept, and run if the table has been captured before.
        ...(policy === undefined && options.force !== true
          ? []
          : statements.asOwner(owner, [statements.noteLapse(storage, name)])),
        ...drops(knownStates),
        ...grants,
        ...ownerChanges,
        ...statements.asOwner(
          owner,
          source.functions.flatMap((triggerFunction) => functionStatements(storage, triggerFunction))
        ),
        ...makes(knownStates, options.force === true ? ({ expected }) => expected : toMake),
        ...enables(knownStates),
        ...written
      ],
      lessRedacted
    )
    steps.push(
      policy === undefined
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
            lapsedSince: deployed?.policy.removedAt ?? null
          }
        : {
            ...built,
            kind: "regenerate",
            differences: reasons,
            relations: installedOtherwise(storage, catalog, policy, resolved, knownStates),
            lapse: false
          }
    )
  } else {
    const broken = knownStates.filter(needsWork)
    const lostFunctions = [...functions.missing, ...functions.altered]
    const repairs = broken.length > 0 || lostFunctions.length > 0 || grants.length > 0 || ownerChanges.length > 0
    const lapsed =
      repairs &&
      (gap !== null ||
        broken.some(
          ({ altered, disabled, missing, relation }) =>
            relation.level === 0 && altered.length + disabled.length + missing.length > 0
        ))
    const refreshes = reasons.length > 0 || deployed?.relation !== table.oid || (gap !== null && !repairs)
    if (repairs) {
      steps.push({
        ...step([
          ...(lapsed ? statements.asOwner(owner, [statements.noteLapse(storage, name)]) : []),
          ...drops(broken),
          ...grants,
          ...ownerChanges,
          ...statements.asOwner(owner, [
            ...source.functions
              .filter(({ name: functionName }) => lostFunctions.includes(functionName))
              .flatMap((triggerFunction) => functionStatements(storage, triggerFunction)),
            ...(lostFunctions.includes(source.watchful) ? [statements.makeWatchful(storage, name, true)] : [])
          ]),
          ...makes(broken, toMake),
          ...enables(broken),
          // The policy has marks of the triggers, and writing it ends the lapse.
          ...(lapsed && !refreshes ? written : [])
        ]),
        kind: "repair",
        relations: broken.map(relationRepair),
        missingFunctions: functions.missing,
        alteredFunctions: functions.altered,
        foreignFunctions: functions.foreign.map((foreign) => ({ name: foreign.name, owner: foreign.owner })),
        granted: grants.length > 0 ? owner : null,
        lapse: lapsed
      })
    }
    if (refreshes) {
      steps.push({
        ...step(written, lessRedacted),
        kind: "refresh",
        differences: reasons,
        lapse: gap !== null && !repairs
      })
    }
  }

  for (const [place, state] of joined.entries()) {
    const partition = label(state.relation)
    steps.push({
      ...step([
        ...drops([state]),
        ...grantsFor(catalog, resolved, [state]),
        ...toMake(state).flatMap(({ sql }) => sql),
        ...enables([state]),
        ...statements.asOwner(owner, [
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
    })
  }

  // Before the policy changes: a changed policy would hide the lapse.
  const first = steps.shift()
  if (first !== undefined) {
    steps.unshift(
      gap === null ? first : noting(first, statements.asOwner(owner, [statements.noteLapse(storage, name)]), steps)
    )
  }

  // Last, when nothing calls them any more.
  const stale = rebuild ? staleFunctions(catalog, resolved, superseded) : []
  const cleanup = statements.asOwner(owner, [
    ...stale.map((functionName) => statements.dropFunction(storage, functionName)),
    ...superseded.map(policyName).flatMap((formerName) => [
      // If it is declared to be this table, its triggers prove that nothing was missed.
      ...(formerNames.some((declared) => sameName(declared, formerName))
        ? []
        : [statements.noteLapse(storage, formerName)]),
      statements.retirePolicy(storage, formerName)
    ])
  ])
  const last = steps.pop()
  if (last !== undefined) {
    steps.push(
      ...(superseded[0] === undefined
        ? [{ ...last, sql: [...last.sql, ...cleanup] }]
        : [
            last,
            {
              kind: "detach" as const,
              table: label(policyName(superseded[0])),
              reason: "superseded" as const,
              capturedAs: resolved.label,
              sql: cleanup,
              lessRedaction: []
            }
          ])
    )
  }

  const formerly = formerNameOf(present, name)
  const bearers = goneBearers(catalog, name)
  const takesOver = heirSteps(storage, owner, bearers, name)
  steps.unshift(...followSteps(storage, present, name), ...(policy === undefined ? [] : takesOver))
  // A table that is attached takes over when it has a policy.
  steps.push(...(policy === undefined ? takesOver : []))

  // What is forced may be kept, and run if the table is captured.
  const captured = policy === undefined && options.force !== true ? [] : [name]
  announceWork(
    storage,
    owner,
    steps,
    [...captured, ...(formerly === undefined ? [] : [formerly]), ...superseded.map(policyName)],
    name
  )

  const changedStates = steps.some(({ kind }) => kind === "attach" || kind === "regenerate" || kind === "repair")
    ? states
    : joined
  return Either.right({
    steps,
    names: [name, ...(formerly === undefined ? [] : [formerly]), ...superseded.map(policyName), ...bearers],
    needs: [
      ...changedStates.flatMap(needsOf),
      ...(shape.onTruncate === "rows" && steps.length > 0
        ? table.relations.filter(isUnreadable).map((relation) => ({ relation, privilege: "grant" }) as const)
        : [])
    ],
    spread: spreadOf(table.relations, states[0]?.expected ?? [], steps)
  })
}

/** The schema watch is told what Threadline itself works on, and what came of it. */
const announceWork = (
  storage: string,
  owner: string,
  steps: Array<Step>,
  captured: ReadonlyArray<Name>,
  name: Name
): void => {
  const first = steps.shift()
  if (first !== undefined && captured.length > 0) {
    const begins = captured.map((each) => statements.workBegins(storage, each))
    steps.unshift({ ...first, sql: [...statements.asOwner(owner, begins), ...first.sql] })
  } else if (first !== undefined) {
    steps.unshift(first)
  }
  const last = steps.pop()
  if (last !== undefined) {
    steps.push({
      ...last,
      sql: [...last.sql, ...statements.asOwner(owner, [statements.workEnds(storage, name, "applied")])]
    })
  }
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

/** The step. It notes a lapse before its work. */
const noting = (step: Step, statements: ReadonlyArray<string>, otherSteps: ReadonlyArray<Step>): Step => {
  const sql = [...statements, ...step.sql]
  // One step says it. An attached table was not captured before: its lapse has its own words.
  return step.kind === "attach" || step.kind === "detach" || step.kind === "follow"
    ? { ...step, sql }
    : { ...step, sql, lapse: step.lapse || !otherSteps.some((other) => "lapse" in other && other.lapse) }
}

const relationRepair = ({ altered, disabled, missing, relation, surplus }: RelationState) => {
  const names = (triggers: ReadonlyArray<{ readonly name: string }>) => triggers.map(({ name }) => name)
  return {
    relation: label(relation),
    missing: names(missing),
    altered: names(altered),
    disabled: names(disabled.filter(({ enabled }) => enabled === "D")),
    otherwiseEnabled: names(disabled.filter(({ enabled }) => enabled !== "D")),
    surplus: names(surplus)
  }
}

const isJoined =
  (knownPartitions: ReadonlySet<string>) =>
  ({ relation }: RelationState): boolean =>
    relation.level > 0 && !knownPartitions.has(label(relation))

const toMake = (state: RelationState): ReadonlyArray<Expected> =>
  state.expected.filter(
    (trigger) =>
      state.missing.includes(trigger) ||
      state.altered.includes(trigger) ||
      state.disabled.some(({ cloned, name }) => !cloned && name === trigger.name)
  )

const needsWork = (state: RelationState): boolean =>
  toMake(state).length > 0 || state.surplus.length > 0 || state.disabled.length > 0

/** Row triggers of a partitioned table come last: by then the triggers of each partition have locked it, one statement after the other. */
const makes = (
  states: ReadonlyArray<RelationState>,
  chosen: (state: RelationState) => ReadonlyArray<Expected>
): ReadonlyArray<string> => {
  const triggers = states.flatMap((state) =>
    chosen(state).map((trigger) => ({ sql: trigger.sql, spreads: isSpread(state.relation, trigger) }))
  )
  return [...triggers.filter(({ spreads }) => !spreads), ...triggers.filter(({ spreads }) => spreads)].flatMap(
    ({ sql }) => sql
  )
}

const drops = (states: ReadonlyArray<RelationState>): ReadonlyArray<string> =>
  states.flatMap(({ relation, surplus }) => surplus.map(({ name }) => statements.dropTrigger(relation, name)))

/** Triggers that were cloned cannot be made anew, only enabled. */
const enables = (states: ReadonlyArray<RelationState>): ReadonlyArray<string> => {
  // The clones of a trigger are dropped with it.
  const dropped = new Set(states.flatMap(({ surplus }) => surplus.map(({ name }) => name)))
  return states.flatMap(({ disabled, expected, relation }) =>
    disabled
      .filter(({ cloned, name }) => cloned && !dropped.has(name))
      .map(({ name }) =>
        statements.enableTrigger(
          relation,
          relation.kind === "f",
          name,
          expected.some(({ always }) => always)
        )
      )
  )
}

const needsOf = (state: RelationState): ReadonlyArray<Need> => {
  const { relation } = state
  const triggersToMake = toMake(state)
  return [
    ...(triggersToMake.length > 0 ? [{ relation, privilege: "trigger" } as const] : []),
    ...(state.surplus.length > 0 ||
    state.disabled.some(({ cloned }) => cloned) ||
    triggersToMake.some(({ always }) => always)
      ? [{ relation, privilege: "ownership" } as const]
      : [])
  ]
}

/** The owner of Threadline's schema cannot read it, and the connected role cannot grant it that. */
const isUnreadable = (relation: Relation): boolean =>
  (!relation.ownerReads && !relation.mayGrantSelect) || (!relation.ownerUsesSchema && !relation.mayGrantUsage)

/** The relations that the owner of the schema must be able to read, to count or keep rows that are truncated. */
const grantsFor = (
  catalog: Catalog,
  { shape }: Resolved,
  states: ReadonlyArray<RelationState>
): ReadonlyArray<string> => {
  const owner = catalog.storage.owner
  if (shape.onTruncate === "refuse") {
    return []
  }
  const relations = states.map(({ relation }) => relation)
  const unread = relations.filter(({ mayGrantSelect, ownerReads }) => !ownerReads && mayGrantSelect)
  const schemas = new Set(
    relations
      .filter(({ mayGrantUsage, ownerUsesSchema }) => !ownerUsesSchema && mayGrantUsage)
      .map(({ schema }) => schema)
  )
  return [
    ...(unread.length > 0 ? [statements.grantSelect(unread, owner)] : []),
    ...(schemas.size > 0 ? [statements.grantUsage([...schemas], owner)] : [])
  ]
}

/** A generated name that two tables would share, or that is taken in Threadline's schema. */
export const nameCollision = (names: ReadonlyArray<Name>, catalog: Catalog): CaptureError | undefined => {
  const owners = new Map<string, Name>()
  const newNames = names.filter((name) => !catalog.active.some((other) => sameName(other, name)))
  for (const name of [...catalog.active, ...newNames]) {
    for (const functionName of functionNames(name)) {
      const owner = owners.get(functionName)
      if (
        owner !== undefined ||
        catalog.functions.some((row) => row.name === functionName && row.trigger === isWatchful(functionName))
      ) {
        return new CaptureError({
          table: label(name),
          refusal: {
            reason: "NameCollision",
            object: "function",
            names: [functionName],
            of: owner === undefined ? null : label(owner)
          },
          mend: hostMend(owner === undefined ? "renameFunction" : "renameTable")
        })
      }
      owners.set(functionName, name)
    }
  }
  return undefined
}
