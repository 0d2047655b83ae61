import { mount } from "svelte";
import App from "./App.svelte";
import { catchLinks } from "./state/router.svelte";
import { theme } from "./state/theme.svelte";
import "./styles/theme.css";
import "./styles/base.css";

theme.show();
document.addEventListener("click", catchLinks);
const target = document.getElementById("app");
if (target) mount(App, { target });
