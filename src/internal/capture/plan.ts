/**
 * The plan from what is installed to what is configured, for one table. Everything is computed from one snapshot of the catalog.
 * The same plan is shown and printed. It is computed again under a lock, and applied.
 */
import * as Either from "effect/Either"
import type { Catalog, Name } from "./catalogModel.js"
import { CaptureError } from "./captureError.js"
import { partitionsThatLeft } from "./detach.js"
import { policyName, type RelationState } from "./diff.js"
import { followed, followSteps, formerNameOf, goneBearers, heirSteps } from "./follow.js"
import { functionNames, isWatchful } from "./generate/names.js"
import { generate } from "./generate/generate.js"
import { hostMend } from "./mend.js"
import { label, type Resolved, sameName } from "./resolve.js"
import { spreadOf } from "./spread.js"
import * as statements from "./statements.js"
import type { Step } from "./step.js"
import type { Need, PlanOptions, TablePlan } from "./tablePlan.js"
import { joinSteps, mendSteps, noteLapse, rebuildStep, type Situation, situationOf, withCleanup } from "./tableSteps.js"
import { isUnreadable, needsOf } from "./triggerWork.js"

export const planTable = (
  storage: string,
  present: Catalog,
  resolved: Resolved,
  options: PlanOptions
): Either.Either<TablePlan, CaptureError> => {
  const catalog = followed(present)
  const { name, table } = resolved
  const situation = situationOf(storage, catalog, resolved, options, generate(storage, resolved.shape))
  const { policy, states, superseded } = situation
  const collision = triggerCollision(resolved, states)
  if (collision !== undefined) {
    return Either.left(collision)
  }
  const ownSteps = withCleanup(
    situation,
    withLapse(situation, [
      ...partitionsThatLeft(storage, catalog, resolved, policy, superseded, options),
      ...(situation.rebuild ? [rebuildStep(situation)] : mendSteps(situation)),
      ...joinSteps(situation)
    ])
  )

  const formerly = formerNameOf(present, name)
  const bearers = goneBearers(catalog, name)
  const takesOver = heirSteps(storage, catalog.storage.owner, bearers, name)
  const formerNames = [...(formerly === undefined ? [] : [formerly]), ...superseded.map(policyName)]
  // SQL that was planned with `force` may be kept, and run when the table is captured already.
  const captured = policy === undefined && options.force !== true ? [] : [name]
  const steps = announced(
    situation,
    [...captured, ...formerNames],
    [
      ...followSteps(storage, present, name),
      // A table that is attached takes over when it has a policy.
      ...(policy === undefined ? [...ownSteps, ...takesOver] : [...takesOver, ...ownSteps])
    ]
  )
  return Either.right({
    steps,
    names: [name, ...formerNames, ...bearers],
    needs: needs(situation, steps),
    spread: spreadOf(table.relations, states[0]?.expected ?? [], steps)
  })
}

/** A trigger of the host that has the name of one of ours. */
const triggerCollision = (resolved: Resolved, states: ReadonlyArray<RelationState>): CaptureError | undefined => {
  const colliding = states.find((state) => state.colliding.length > 0)
  return colliding === undefined
    ? undefined
    : new CaptureError({
        table: resolved.label,
        refusal: {
          reason: "NameCollision",
          object: "trigger",
          names: colliding.colliding,
          of: label(colliding.relation)
        },
        mend: hostMend("renameTrigger")
      })
}

/** Notes a lapse, if there is one, before the policy changes: a changed policy would hide it. */
const withLapse = (situation: Situation, steps: ReadonlyArray<Step>): ReadonlyArray<Step> => {
  const [first, ...others] = steps
  return first === undefined || situation.gap === null
    ? steps
    : [noting(first, noteLapse(situation), others), ...others]
}

/** The step, with a note of the lapse before its own statements. */
const noting = (step: Step, statements: ReadonlyArray<string>, otherSteps: ReadonlyArray<Step>): Step => {
  const sql = [...statements, ...step.sql]
  // Only one step mentions the lapse. The step of an attached table has words of its own for it.
  return step.kind === "attach" || step.kind === "detach" || step.kind === "follow"
    ? { ...step, sql }
    : { ...step, sql, lapse: step.lapse || !otherSteps.some((other) => "lapse" in other && other.lapse) }
}

/** Tells the schema watch which tables Threadline itself is working on, and when that ends. */
const announced = (
  { catalog, resolved, storage }: Situation,
  captured: ReadonlyArray<Name>,
  steps: ReadonlyArray<Step>
): ReadonlyArray<Step> => {
  const { owner } = catalog.storage
  const begins = captured.map((name) => statements.workBegins(storage, name))
  const ends = [statements.workEnds(storage, resolved.name, "applied")]
  return steps.map((step, place) => ({
    ...step,
    sql: [
      ...(place === 0 && begins.length > 0 ? statements.asOwner(owner, begins) : []),
      ...step.sql,
      ...(place === steps.length - 1 ? statements.asOwner(owner, ends) : [])
    ]
  }))
}

/** The privileges that the connected role needs for the steps to work. */
const needs = ({ joined, resolved, states }: Situation, steps: ReadonlyArray<Step>): ReadonlyArray<Need> => {
  const changed = steps.some(({ kind }) => kind === "attach" || kind === "regenerate" || kind === "repair")
    ? states
    : joined
  return [
    ...changed.flatMap(needsOf),
    ...(resolved.shape.onTruncate === "rows" && steps.length > 0
      ? resolved.table.relations.filter(isUnreadable).map((relation) => ({ relation, privilege: "grant" }) as const)
      : [])
  ]
}

/**
 * The refusal if two tables would share the name of a generated function, or if another function of Threadline's schema has it.
 */
export const nameCollision = (names: ReadonlyArray<Name>, catalog: Catalog): CaptureError | undefined => {
  const owners = new Map<string, Name>()
  const taken = new Set(catalog.functions.flatMap(({ name, trigger }) => (trigger === isWatchful(name) ? [name] : [])))
  const newNames = names.filter((name) => !catalog.active.some((other) => sameName(other, name)))
  for (const name of [...catalog.active, ...newNames]) {
    for (const functionName of functionNames(name)) {
      const owner = owners.get(functionName)
      if (owner !== undefined || taken.has(functionName)) {
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
