/**
 * What the triggers of a relation need, as SQL: which are to be dropped, made, enabled, and the rights for that.
 */
import type { Catalog, Relation } from "./catalogModel.js"
import type { Expected, RelationState } from "./diff.js"
import { label, type Resolved } from "./resolve.js"
import { isSpread } from "./spread.js"
import * as statements from "./statements.js"
import type { Need } from "./tablePlan.js"

export const toMake = (state: RelationState): ReadonlyArray<Expected> =>
  state.expected.filter(
    (trigger) =>
      state.missing.includes(trigger) ||
      state.altered.includes(trigger) ||
      state.disabled.some(({ cloned, name }) => !cloned && name === trigger.name)
  )

export const needsWork = (state: RelationState): boolean =>
  toMake(state).length > 0 || state.surplus.length > 0 || state.disabled.length > 0

/** Row triggers of a partitioned table come last: by then the triggers of each partition have locked it, one statement after the other. */
export const makes = (
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

export const drops = (states: ReadonlyArray<RelationState>): ReadonlyArray<string> =>
  states.flatMap(({ relation, surplus }) => surplus.map(({ name }) => statements.dropTrigger(relation, name)))

/** Triggers that were cloned cannot be made anew, only enabled. */
export const enables = (states: ReadonlyArray<RelationState>): ReadonlyArray<string> => {
  // The clones of a trigger are dropped with it.
  const dropped = new Set(states.flatMap(({ surplus }) => surplus.map(({ name }) => name)))
  return states.flatMap(({ disabled, expected, relation }) =>
    disabled
      .filter(({ cloned, name }) => cloned && !dropped.has(name))
      .map(({ name }) =>
        statements.enableTrigger(relation, name, {
          always: expected.some(({ always }) => always),
          foreign: relation.kind === "f"
        })
      )
  )
}

export const needsOf = (state: RelationState): ReadonlyArray<Need> => {
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

export const relationRepair = ({ altered, disabled, missing, relation, surplus }: RelationState) => {
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

/** Whether the owner of Threadline's schema cannot read the relation, and the connected role cannot let it. */
export const isUnreadable = (relation: Relation): boolean =>
  (!relation.ownerReads && !relation.mayGrantSelect) || (!relation.ownerUsesSchema && !relation.mayGrantUsage)

/** The relations that the owner of the schema must be able to read, to count or keep rows that are truncated. */
export const grantsFor = (
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
