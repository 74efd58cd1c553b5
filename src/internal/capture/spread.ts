/**
 * Statements about row triggers of a partitioned table. PostgreSQL makes, enables and drops these in every partition at once, and so
 * waits for many locks in one statement.
 */
import type { Name, Relation } from "./catalogModel.js"
import type { Expected } from "./diff.js"
import * as statements from "./statements.js"
import type { Step } from "./step.js"

/** Locks that are taken one by one before the steps, so that no statement of them waits for more than one. */
export interface Spread {
  readonly root: Name
  readonly mode: statements.LockMode
  /** The relations that the connected role may lock. */
  readonly relations: ReadonlyArray<Name>
  readonly statements: ReadonlySet<string>
}

const isRowTrigger = ({ type }: { readonly type: number }): boolean => type % 2 === 1

/** Whether the statements of a trigger that is to be made lock the partitions too. */
export const isSpread = (relation: Relation, trigger: Expected): boolean =>
  relation.kind === "p" && isRowTrigger(trigger)

/**
 * The locks to take before the steps of one table. Undefined if no statement of them locks partitions. `expected`: the triggers
 * that the table should have, or none if the steps only drop triggers.
 */
export const spreadOf = (
  relations: ReadonlyArray<Relation>,
  expected: ReadonlyArray<Expected>,
  steps: ReadonlyArray<Step>
): Spread | undefined => {
  const [root] = relations
  if (root?.kind !== "p") {
    return undefined
  }
  const installed = root.triggers.filter((trigger) => trigger.calls !== null && isRowTrigger(trigger))
  const drops = installed.map(({ name }) => statements.dropTrigger(root, name))
  const makes = [
    ...expected.filter((trigger) => isSpread(root, trigger)).flatMap(({ sql }) => sql),
    ...installed.flatMap(({ name }) =>
      [true, false].map((always) => statements.enableTrigger(root, name, { always, foreign: false }))
    )
  ]
  const planned = new Set(steps.flatMap(({ sql }) => sql))
  const isPlanned = (statement: string): boolean => planned.has(statement)
  const spreading = [...drops, ...makes].filter(isPlanned)
  return spreading.length === 0
    ? undefined
    : {
        root,
        mode: drops.some(isPlanned) ? "access exclusive" : "share row exclusive",
        relations: relations.filter(({ mayLock }) => mayLock),
        statements: new Set(spreading)
      }
}
