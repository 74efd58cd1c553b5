/**
 * The steps from what is installed to what is configured, for one table. Everything here is computed from one snapshot of
 * the catalog: the same plan is shown, printed, and, computed again under a lock, applied.
 */
import * as Either from "effect/Either"
import type { Catalog, Name, Relation } from "./captureCatalog.js"
import {
  called,
  columnChanges,
  type Expected,
  functionState,
  lessRedaction,
  partitionLabels,
  policyName,
  relationState,
  type RelationState,
  supersededPolicies,
  tableFunctions
} from "./captureDiff.js"
import { CaptureError, type Policy, type Step, type StepKind } from "./captureModel.js"
import { findDeployed, findTable, label, type Resolved, sameName } from "./captureResolve.js"
import { generate, generatorVersion } from "./captureSource.js"
import * as Sql from "./captureSql.js"

export interface PlanOptions {
  /** Everything is made anew, whatever is installed. */
  readonly force?: boolean
  /** Baseline changes for the rows of partitions that joined, delete changes for those of partitions that left. */
  readonly markPartitions?: boolean
}

/** A privilege that the connected role needs on a relation for the steps to work. */
export interface Need {
  readonly relation: Relation
  readonly privilege: "trigger" | "ownership" | "grant"
}

export interface TablePlan {
  readonly steps: ReadonlyArray<Step>
  /** Tables that the steps touch or retire: what to read again under the lock. */
  readonly names: ReadonlyArray<Name>
  readonly needs: ReadonlyArray<Need>
}

export const planTable = (
  storage: string,
  catalog: Catalog,
  resolved: Resolved,
  options: PlanOptions
): Either.Either<TablePlan, CaptureError> => {
  const { name, shape, table } = resolved
  const source = generate(storage, shape)
  const states = table.relations.map((relation) =>
    relationState(storage, source, relation, shape, catalog.serverVersion)
  )
  const colliding = states.find((state) => state.colliding.length > 0)
  if (colliding !== undefined) {
    return Either.left(
      new CaptureError({
        reason: "NameCollision",
        table: resolved.label,
        detail: `${label(colliding.relation)} has a trigger ${colliding.colliding.join(", ")} that is not Threadline's`,
        hint: "rename that trigger"
      })
    )
  }

  const deployed = findDeployed(catalog, name)
  const policy = deployed?.policy.removedAt === null ? deployed.policy : undefined
  const known = new Set(policy?.partitions)
  const joined = policy === undefined || options.force === true ? [] : states.filter(isJoined(known))
  const settled = states.filter((state) => !joined.includes(state))
  const superseded = supersededPolicies(catalog, storage, name, table)
  const owner = catalog.storage.owner
  const grants = grantsFor(catalog, resolved, settled)
  const less = lessRedaction(catalog, storage, shape, table)
  const functions = functionState(catalog, source)
  const step = (
    kind: StepKind,
    summary: string,
    sql: ReadonlyArray<string>,
    redaction: ReadonlyArray<string> = []
  ) => ({
    kind,
    table: resolved.label,
    summary,
    sql,
    lessRedaction: redaction
  })
  const upsert = Sql.upsertPolicy(storage, shape, {
    partitions: partitionLabels(table),
    acknowledgeCasts: resolved.acknowledgeCasts,
    sourceHash: source.sourceHash
  })

  const reasons = policy === undefined ? [] : differences(policy, resolved, deployed?.relation === table.oid)
  const rebuild =
    options.force === true ||
    policy === undefined ||
    policy.sourceHash !== source.sourceHash ||
    policy.generator !== generatorVersion ||
    superseded.length > 0

  const steps: Array<Step> = partitionsThatLeft(storage, catalog, resolved, policy, superseded, options)

  if (rebuild) {
    steps.push(
      step(
        policy === undefined ? "attach" : "regenerate",
        policy === undefined ? attachSummary(resolved) : `regenerate: ${reasons.join("; ") || "the code differs"}`,
        [
          ...drops(settled),
          ...grants,
          ...Sql.asOwner(owner, [...source.functions.map(({ sql }) => sql), upsert]),
          ...settled.flatMap((state) =>
            (options.force === true ? state.expected : toMake(state)).flatMap(({ sql }) => sql)
          ),
          ...enables(settled)
        ],
        less
      )
    )
  } else {
    const broken = settled.filter(needsWork)
    const lost = [...functions.missing, ...functions.altered]
    if (broken.length > 0 || lost.length > 0 || grants.length > 0) {
      steps.push(
        step("repair", repairSummary(broken, functions, grants, owner), [
          ...drops(broken),
          ...grants,
          ...Sql.asOwner(
            owner,
            source.functions.filter((object) => lost.includes(object.name)).map(({ sql }) => sql)
          ),
          ...broken.flatMap((state) => toMake(state).flatMap(({ sql }) => sql)),
          ...enables(broken)
        ])
      )
    }
    if (reasons.length > 0 || deployed?.relation !== table.oid) {
      steps.push(
        step(
          "refresh",
          `record ${reasons.length > 0 ? reasons.join("; ") : "the identity that the table has after a restore"}`,
          Sql.asOwner(owner, [upsert]),
          less
        )
      )
    }
  }

  for (const state of joined) {
    const partition = label(state.relation)
    steps.push(
      step(
        "attach partition",
        `capture partition ${partition}${options.markPartitions === true ? ", and write its rows as baseline" : ""}`,
        [
          ...drops([state]),
          ...grantsFor(catalog, resolved, [state]),
          ...toMake(state).flatMap(({ sql }) => sql),
          ...enables([state]),
          ...Sql.asOwner(owner, [
            Sql.addPartition(storage, name, partition),
            ...(options.markPartitions === true && state.relation.kind !== "p"
              ? [Sql.markRows(storage, state.relation, name, "baseline")]
              : [])
          ])
        ]
      )
    )
  }

  // Last, when nothing calls them any more.
  const stale = rebuild ? staleFunctions(storage, catalog, resolved, superseded) : []
  const cleanup = Sql.asOwner(owner, [
    ...stale.map((each) => Sql.dropFunction(storage, each)),
    ...superseded.map((each) => Sql.retirePolicy(storage, policyName(each)))
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
              summary: `end its capture: it is captured as ${resolved.label} now; its history stays`,
              sql: cleanup,
              lessRedaction: []
            }
          ])
    )
  }

  const worked = steps.some(({ kind }) => kind === "attach" || kind === "regenerate" || kind === "repair")
    ? states
    : joined
  return Either.right({
    steps,
    names: [name, ...superseded.map(policyName)],
    needs: [
      ...worked.flatMap(needsOf),
      ...(shape.onTruncate === "rows" && steps.length > 0
        ? table.relations.filter(isUnreadable).map((relation) => ({ relation, privilege: "grant" }) as const)
        : [])
    ]
  })
}

const isJoined =
  (known: ReadonlySet<string>) =>
  ({ relation }: RelationState): boolean =>
    relation.level > 0 && !known.has(label(relation))

const toMake = (state: RelationState): ReadonlyArray<Expected> =>
  state.expected.filter(
    (trigger) =>
      state.missing.includes(trigger) ||
      state.altered.includes(trigger) ||
      state.disabled.some(({ cloned, name }) => !cloned && name === trigger.name)
  )

const needsWork = (state: RelationState): boolean =>
  toMake(state).length > 0 || state.surplus.length > 0 || state.disabled.length > 0

const drops = (states: ReadonlyArray<RelationState>): ReadonlyArray<string> =>
  states.flatMap(({ relation, surplus }) => surplus.map(({ name }) => Sql.dropTrigger(relation, name)))

/** Triggers that were cloned cannot be made anew, only enabled. */
const enables = (states: ReadonlyArray<RelationState>): ReadonlyArray<string> =>
  states.flatMap(({ disabled, expected, relation }) =>
    disabled
      .filter(({ cloned }) => cloned)
      .map(({ name }) =>
        Sql.enableTrigger(
          relation,
          relation.kind === "f",
          name,
          expected.some(({ always }) => always)
        )
      )
  )

const needsOf = (state: RelationState): ReadonlyArray<Need> => {
  const { relation } = state
  const made = toMake(state)
  return [
    ...(made.length > 0 ? [{ relation, privilege: "trigger" } as const] : []),
    ...(state.surplus.length > 0 || state.disabled.some(({ cloned }) => cloned) || made.some(({ always }) => always)
      ? [{ relation, privilege: "ownership" } as const]
      : [])
  ]
}

/** Neither can the owner of Threadline's schema read it, nor can the connected role let it. */
const isUnreadable = (relation: Relation): boolean =>
  (!relation.ownerReads && !relation.mayGrantSelect) || (!relation.ownerUsesSchema && !relation.mayGrantUsage)

/** What the owner of the schema must be able to read: rows that are truncated, to count or to keep them. */
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
    ...(unread.length > 0 ? [Sql.grantSelect(unread, owner)] : []),
    ...(schemas.size > 0 ? [Sql.grantUsage([...schemas], owner)] : [])
  ]
}

/** Functions that belong to this table and to nobody else, and that nothing calls once its steps are done. */
const staleFunctions = (
  storage: string,
  catalog: Catalog,
  resolved: Resolved,
  superseded: ReadonlyArray<Policy>
): ReadonlyArray<string> => {
  const kept = tableFunctions(storage, resolved.name)
  const gone = superseded.map(policyName)
  const others = new Set(
    catalog.active
      .filter((name) => !gone.some((each) => sameName(each, name)) && !sameName(name, resolved.name))
      .flatMap((name) => tableFunctions(storage, name))
  )
  const candidates = new Set([
    ...called(resolved.table),
    ...[...gone, resolved.name].flatMap((name) => tableFunctions(storage, name))
  ])
  const installed = new Set(catalog.functions.map(({ name }) => name))
  return [...candidates].filter((name) => installed.has(name) && !kept.includes(name) && !others.has(name)).sort()
}

/** Partitions that the policy knows and the table no longer has; their triggers, where there are any, refuse every write. */
const partitionsThatLeft = (
  storage: string,
  catalog: Catalog,
  resolved: Resolved,
  policy: Policy | undefined,
  superseded: ReadonlyArray<Policy>,
  options: PlanOptions
): Array<Step> => {
  const functions = new Set(
    [resolved.name, ...superseded.map(policyName)].flatMap((name) => tableFunctions(storage, name))
  )
  const strays = catalog.strays.filter(({ triggers }) =>
    triggers.some(({ calls }) => calls !== null && functions.has(calls))
  )
  const now = new Set(partitionLabels(resolved.table))
  const left = new Set([...(policy?.partitions ?? []).filter((each) => !now.has(each)), ...strays.map(label)])
  return [...left].sort().map((each) => {
    const stray = strays.find((candidate) => label(candidate) === each)
    const mark = options.markPartitions === true && stray !== undefined && policy?.partitions.includes(each) === true
    return {
      kind: "detach partition",
      table: resolved.label,
      summary:
        stray === undefined
          ? `forget partition ${each}, which is gone`
          : `end the capture of ${each}, which left the table${mark ? ", and write its rows as deleted" : ""}`,
      sql: [
        ...(stray?.triggers ?? [])
          .filter(({ calls, cloned }) => calls !== null && !cloned)
          .map(({ name }) => Sql.dropTrigger(stray ?? resolved.name, name)),
        ...Sql.asOwner(catalog.storage.owner, [
          Sql.forgetPartition(storage, resolved.name, each),
          ...(mark ? [Sql.markRows(storage, stray, resolved.name, "delete")] : [])
        ])
      ],
      lessRedaction: []
    }
  })
}

/** The steps that end the capture of a table. Its history and its policy row stay. */
export const planDetach = (storage: string, catalog: Catalog, policy: Policy, why: string): TablePlan => {
  const name = policyName(policy)
  const table = findTable(catalog, name)
  const others = new Set(
    catalog.active.filter((other) => !sameName(other, name)).flatMap((other) => tableFunctions(storage, other))
  )
  const own = new Set(
    [...tableFunctions(storage, name), ...(table === undefined ? [] : called(table))].filter(
      (each) => !others.has(each)
    )
  )
  const relations = [...catalog.tables.flatMap((each) => each.relations), ...catalog.strays]
  const triggers = relations.flatMap((relation) =>
    relation.triggers
      .filter(({ calls, cloned }) => calls !== null && own.has(calls) && !cloned)
      .map((trigger) => Sql.dropTrigger(relation, trigger.name))
  )
  const installed = new Set(catalog.functions.map((each) => each.name))
  return {
    steps: [
      {
        kind: "detach",
        table: label(name),
        summary: `end its capture: ${why}; its history stays`,
        sql: [
          ...new Set(triggers),
          ...Sql.asOwner(catalog.storage.owner, [
            ...[...own]
              .filter((each) => installed.has(each))
              .sort()
              .map((each) => Sql.dropFunction(storage, each)),
            Sql.retirePolicy(storage, name)
          ])
        ],
        lessRedaction: []
      }
    ],
    names: [name],
    needs: (table?.relations ?? []).map((relation) => ({ relation, privilege: "ownership" }))
  }
}

/** What is different from the deployed policy, in words. */
const differences = (policy: Policy, resolved: Resolved, sameTable: boolean): ReadonlyArray<string> => {
  const { shape } = resolved
  const columns = columnChanges(policy, shape.columns, sameTable)
  const found = [
    ...policyDifferences(policy, resolved),
    ...columns.renamed.map(([from, to]) => `column ${from} is now ${to}`),
    ...(columns.added.length > 0 ? [`new columns ${columns.added.join(", ")}`] : []),
    ...(columns.dropped.length > 0 ? [`columns gone ${columns.dropped.join(", ")}`] : []),
    ...(columns.retyped.length > 0 ? [`other types of ${columns.retyped.join(", ")}`] : [])
  ]
  const same = (before: unknown, after: unknown) => JSON.stringify(before) === JSON.stringify(after)
  return found.length > 0 || (same(policy.columns, shape.columns) && same(policy.key, shape.key))
    ? found
    : ["details of its columns"]
}

/** What of the configuration is different from the deployed policy, in words. */
export const policyDifferences = (
  policy: Policy,
  { acknowledgeCasts, shape }: Pick<Resolved, "acknowledgeCasts" | "shape">
): ReadonlyArray<string> => {
  const list = (what: string, before: ReadonlyArray<string>, after: ReadonlyArray<string>) => {
    const more = after.filter((each) => !before.includes(each))
    const fewer = before.filter((each) => !after.includes(each))
    return [
      ...(more.length > 0 ? [`${what} ${more.join(", ")}`] : []),
      ...(fewer.length > 0 ? [`no longer ${what} ${fewer.join(", ")}`] : [])
    ]
  }
  return [
    ...(policy.mode === shape.mode ? [] : [`mode ${shape.mode} instead of ${policy.mode}`]),
    ...(policy.always === shape.always ? [] : [shape.always ? "capture always" : "no longer capture always"]),
    ...(policy.truncate === shape.onTruncate ? [] : [`truncate ${shape.onTruncate} instead of ${policy.truncate}`]),
    ...(keyText(policy.key) === keyText(shape.key)
      ? []
      : [`key ${keyText(shape.key)} instead of ${keyText(policy.key)}`]),
    ...list("exclude", policy.exclude, shape.excluded),
    ...list("mask", policy.mask, shape.masked),
    ...(policy.acknowledgeCasts === acknowledgeCasts
      ? []
      : [acknowledgeCasts ? "casts acknowledged" : "casts no longer acknowledged"])
  ]
}

export const keyText = (key: ReadonlyArray<{ readonly name: string }>): string =>
  key.length === 0 ? "none" : `(${key.map(({ name }) => name).join(", ")})`

const attachSummary = ({ relations, shape }: Resolved): string =>
  [
    `capture by ${shape.mode} triggers`,
    shape.key.length === 0 ? "no key" : `key ${keyText(shape.key)}`,
    ...(relations.length > 1 ? [`${relations.length - 1} partition${relations.length === 2 ? "" : "s"}`] : []),
    ...(shape.excluded.length > 0 ? [`without ${shape.excluded.join(", ")}`] : []),
    ...(shape.masked.length > 0 ? [`masking ${shape.masked.join(", ")}`] : []),
    ...(shape.onTruncate === "event" ? [] : [`truncate: ${shape.onTruncate}`])
  ].join("; ")

const repairSummary = (
  broken: ReadonlyArray<RelationState>,
  functions: { readonly missing: ReadonlyArray<string>; readonly altered: ReadonlyArray<string> },
  grants: ReadonlyArray<string>,
  owner: string
): string =>
  [
    ...broken.map(
      (state) =>
        `triggers of ${label(state.relation)}: ${[
          ...state.missing.map(({ name }) => `${name} missing`),
          ...state.altered.map(({ name }) => `${name} altered`),
          ...state.disabled.map(({ enabled, name }) => `${name} ${enabled === "D" ? "disabled" : "enabled otherwise"}`),
          ...state.surplus.map(({ name }) => `${name} not needed`)
        ].join(", ")}`
    ),
    ...functions.missing.map((name) => `function ${name} missing`),
    ...functions.altered.map((name) => `function ${name} altered`),
    ...(grants.length > 0 ? [`let ${owner} read the rows that TRUNCATE removes`] : [])
  ].join("; ")

/** A generated name that two tables would share, or that is taken in Threadline's schema. */
export const nameCollision = (
  storage: string,
  names: ReadonlyArray<Name>,
  catalog: Catalog
): CaptureError | undefined => {
  const owners = new Map<string, Name>()
  const fresh = names.filter((name) => !catalog.active.some((other) => sameName(other, name)))
  for (const name of [...catalog.active, ...fresh]) {
    for (const each of tableFunctions(storage, name)) {
      const other = owners.get(each)
      if (other !== undefined || catalog.functions.some((row) => row.name === each && !row.trigger)) {
        return new CaptureError({
          reason: "NameCollision",
          table: label(name),
          detail: `its function ${each} belongs to ${other === undefined ? "somebody else" : label(other)} already`,
          hint: other === undefined ? "rename that function" : "rename one of the tables"
        })
      }
      owners.set(each, name)
    }
  }
  return undefined
}
