/**
 * What a step is for, in words.
 */
import { columnChanges, type RelationState } from "./diff.js"
import type { Policy } from "./model.js"
import { label, type Resolved } from "./resolve.js"

/** What is different from the deployed policy, in words. */
export const differences = (policy: Policy, resolved: Resolved, sameTable: boolean): ReadonlyArray<string> => {
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

/** `removedAt`: since when a table that was captured before is not. */
export const attachSummary = ({ relations, shape }: Resolved, removedAt: string | null | undefined): string =>
  [
    `capture by ${shape.mode} triggers`,
    ...(typeof removedAt === "string" ? [`again, after a lapse since ${removedAt}`] : []),
    shape.key.length === 0 ? "no key" : `key ${keyText(shape.key)}`,
    ...(relations.length > 1 ? [`${relations.length - 1} partition${relations.length === 2 ? "" : "s"}`] : []),
    ...(shape.excluded.length > 0 ? [`without ${shape.excluded.join(", ")}`] : []),
    ...(shape.masked.length > 0 ? [`masking ${shape.masked.join(", ")}`] : []),
    ...(shape.onTruncate === "event" ? [] : [`truncate: ${shape.onTruncate}`])
  ].join("; ")

export const repairSummary = (
  broken: ReadonlyArray<RelationState>,
  functions: {
    readonly missing: ReadonlyArray<string>
    readonly altered: ReadonlyArray<string>
    readonly foreign: ReadonlyArray<{ readonly name: string; readonly owner: string }>
  },
  grants: ReadonlyArray<string>,
  owner: string,
  lapsed: boolean
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
    ...functions.foreign.map((each) => `function ${each.name} owned by ${each.owner}`),
    ...(grants.length > 0 ? [`let ${owner} read the rows that TRUNCATE removes`] : []),
    ...(lapsed ? ["note the lapse since the last change"] : [])
  ].join("; ")
