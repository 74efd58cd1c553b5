/**
 * Tables that were renamed since capture was applied to them. Their policies follow them. Everything is planned as if they had
 * followed already.
 */
import type { Catalog, Name, Strayed } from "./catalogModel.js"
import type { Policy } from "./model.js"
import { label, sameName } from "./resolve.js"
import * as statements from "./statements.js"
import type { Step } from "./step.js"

const moves = ({ strayed }: Catalog): ReadonlyArray<Strayed> => strayed.filter(({ from, to }) => !sameName(from, to))

const nameOf = ({ tableName, tableSchema }: Policy): Name => ({ schema: tableSchema, name: tableName })

/** The catalog as it will be after the policies have followed. A policy of a table that is gone gives up its name to another one. */
export const followed = (catalog: Catalog): Catalog => {
  const renames = moves(catalog)
  if (renames.length === 0) {
    return catalog
  }
  const present = (name: Name): Name => renames.find(({ from }) => sameName(from, name))?.to ?? name
  const isFollowed = (name: Name): boolean => renames.some(({ from }) => sameName(from, name))
  const isTaken = (name: Name): boolean => !isFollowed(name) && renames.some(({ to }) => sameName(to, name))
  return {
    ...catalog,
    active: catalog.active.filter((name) => !isTaken(name)).map(present),
    deployed: catalog.deployed
      .filter(({ policy }) => !isTaken(nameOf(policy)))
      .map((deployed) => {
        const { name, schema } = present(nameOf(deployed.policy))
        return { ...deployed, policy: { ...deployed.policy, tableSchema: schema, tableName: name } }
      }),
    gaps: catalog.gaps.filter((gap) => !isFollowed(gap) && !isTaken(gap))
  }
}

/** The name that the policy of a renamed table still has in the database. Undefined if its policy need not follow. */
export const formerNameOf = (catalog: Catalog, name: Name): Name | undefined =>
  moves(catalog).find(({ to }) => sameName(to, name))?.from

/** The steps by which policies follow, if the policy of this table follows, or that of a table that had its name. */
export const followSteps = (storage: string, catalog: Catalog, name: Name): ReadonlyArray<Step> => {
  const sql = statements.asOwner(catalog.storage.owner, [statements.followNames(storage)])
  const away = moves(catalog).find(({ from }) => sameName(from, name))
  const here = catalog.strayed.find(({ to }) => sameName(to, name))
  const step = (formerly: Name, table: Name): Step => ({
    kind: "follow",
    table: label(table),
    formerly: label(formerly),
    sql,
    lessRedaction: []
  })
  return [
    ...(away === undefined ? [] : [step(away.from, away.to)]),
    ...(here === undefined ? [] : [step(here.from, here.to)])
  ]
}

/** Tables that are gone and had this name before another table took it, which has it still. */
export const goneBearers = (catalog: Catalog, name: Name): ReadonlyArray<Name> =>
  catalog.deployed
    .filter(
      ({ policy }) =>
        policy.removedAt === null &&
        // Checked before the gaps: few policies have former names, there are as many gaps as tables, and this runs for every
        // table.
        policy.formerNames.some((former) => !former.declared && sameName(former, name)) &&
        catalog.gaps.some((gap) => gap.gap === "gone" && sameName(gap, nameOf(policy)))
    )
    .map(({ policy }) => nameOf(policy))

/** The steps by which a captured table takes over what was recorded under its name for tables that are gone. */
export const heirSteps = (
  storage: string,
  owner: string,
  bearers: ReadonlyArray<Name>,
  name: Name
): ReadonlyArray<Step> =>
  bearers.map((bearer) => ({
    kind: "follow",
    table: label(name),
    formerly: label(bearer),
    sql: statements.asOwner(owner, [statements.releaseNames(storage, bearer)]),
    lessRedaction: []
  }))
