"""The Studio: a Streamlit front end over the platform's public API and the server's client."""
