import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The gateway's Content-Security-Policy allows nothing inline and nothing from elsewhere: no data: fonts, no polyfill.
export default defineConfig({
  plugins: [svelte()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    manifest: "manifest.json",
  },
  server: { proxy: { "/v1": { target: process.env["SKEP_GATEWAY"] ?? "http://127.0.0.1:8443", ws: true } } },
});
