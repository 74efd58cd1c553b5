/**
 * Packages that the host installs if it wants what they do.
 */

/**
 * A module that was imported, if it has what we use of it. Next.js bundles an empty module in place of an optional package that is not
 * installed, so the import succeeds.
 */
export const installed = <Module extends object>(module: Module, name: keyof Module & string): Module => {
  if (!(name in module)) {
    throw new Error(`the module has no ${name}`)
  }
  return module
}
