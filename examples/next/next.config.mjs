/** @type {import("next").NextConfig} */
export default {
  // This repository has its own linter.
  eslint: { ignoreDuringBuilds: true }
}
