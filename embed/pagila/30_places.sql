-- Reference data: languages, categories, countries, cities.
--
-- All data files: the same rows in the same order on every machine. So nothing here asks
-- for the time, for random(), or for an order that a collation decides.

SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET jit = off;
SET TimeZone = 'UTC';
SET search_path = public;

INSERT INTO language (language_id, name, last_update)
SELECT n, name, timestamptz '2022-01-03 08:00:00+00'
  FROM unnest(ARRAY['English', 'Italian', 'Japanese', 'Mandarin', 'French', 'German'])
       WITH ORDINALITY AS v(name, n)
 ORDER BY n;

INSERT INTO category (category_id, name, last_update)
SELECT n, name, timestamptz '2022-01-03 08:10:00+00'
  FROM unnest(ARRAY['Action', 'Animation', 'Children', 'Classics', 'Comedy', 'Documentary', 'Drama',
                    'Family', 'Foreign', 'Games', 'Horror', 'Music', 'New', 'Sci-Fi', 'Sports', 'Travel'])
       WITH ORDINALITY AS v(name, n)
 ORDER BY n;

-- One line a country: its name, then its cities.
CREATE TEMPORARY TABLE atlas (n integer GENERATED ALWAYS AS IDENTITY, country text, cities text);
INSERT INTO atlas (country, cities) VALUES
('Albania', 'Tirana|Durrës|Vlorë'),
('Algeria', 'Algiers|Oran|Constantine|Annaba'),
('Argentina', 'Buenos Aires|Rosario|Mendoza|La Plata|Mar del Plata|Salta|San Juan|Neuquén|Bariloche|Ushuaia|Tucumán|Posadas'),
('Armenia', 'Yerevan|Gyumri'),
('Australia', 'Sydney|Melbourne|Brisbane|Perth|Adelaide|Hobart|Darwin|Canberra|Geelong|Cairns|Launceston'),
('Austria', 'Vienna|Innsbruck|Klagenfurt|Bregenz'),
('Azerbaijan', 'Baku|Ganja'),
('Bangladesh', 'Chattogram|Khulna|Rajshahi|Sylhet|Barishal'),
('Belgium', 'Brussels|Antwerp|Ghent|Bruges|Leuven'),
('Benin', 'Cotonou|Porto-Novo'),
('Bolivia', 'Cochabamba|Potosí|Tarija'),
('Bosnia and Herzegovina', 'Sarajevo|Mostar'),
('Botswana', 'Gaborone|Maun'),
('Brazil', 'São Paulo|Rio de Janeiro|Salvador|Fortaleza|Recife|Porto Alegre|Curitiba|Manaus|Belém|Natal|Florianópolis|Cuiabá|Londrina|Ouro Preto|Uberlândia|Teresina|São Luís|Olinda|Maceió|Campo Grande|Vitória'),
('Bulgaria', 'Sofia|Plovdiv|Varna|Burgas'),
('Cambodia', 'Siem Reap|Kampot'),
('Cameroon', 'Douala|Garoua'),
('Canada', 'Toronto|Montreal|Calgary|Edmonton|Ottawa|Winnipeg|Quebec City|Hamilton|Victoria|St. John''s|Saskatoon|Moncton|Kingston|Kelowna'),
('Chile', 'Santiago|Valparaíso|Concepción|Antofagasta|Punta Arenas'),
('China', 'Beijing|Shanghai|Guangzhou|Chengdu|Wuhan|Xi''an|Nanjing|Hangzhou|Chongqing|Qingdao|Dalian|Harbin|Kunming|Suzhou|Changsha|Guiyang|Lanzhou|Nanning|Hefei|Urumqi|Ningbo|Wuxi|Foshan|Haikou|Lhasa|Guilin|Luoyang|Baotou|Yichang|Zhuhai'),
('Colombia', 'Medellín|Cali|Barranquilla|Cartagena|Pereira|Manizales|Cúcuta'),
('Costa Rica', 'San José|Alajuela|Limón'),
('Croatia', 'Zagreb|Split|Rijeka|Zadar'),
('Cuba', 'Havana|Camagüey|Holguín'),
('Cyprus', 'Nicosia|Limassol'),
('Czechia', 'Prague|Brno|Ostrava|Olomouc'),
('Denmark', 'Copenhagen|Aarhus|Odense|Aalborg'),
('Dominican Republic', 'Santo Domingo|Santiago de los Caballeros|Puerto Plata'),
('Ecuador', 'Quito|Guayaquil|Cuenca|Manta'),
('Egypt', 'Cairo|Alexandria|Luxor|Aswan|Port Said|Tanta|Asyut'),
('El Salvador', 'San Salvador|Santa Ana'),
('Estonia', 'Tallinn|Narva'),
('Ethiopia', 'Hawassa|Bahir Dar|Gondar'),
('Fiji', 'Suva|Lautoka'),
('Finland', 'Helsinki|Tampere|Turku|Rovaniemi'),
('France', 'Paris|Lyon|Marseille|Bordeaux|Lille|Nantes|Strasbourg|Nice|Rennes|Dijon|Grenoble|Tours|Annecy|Perpignan'),
('Georgia', 'Tbilisi|Batumi'),
('Germany', 'Berlin|Hamburg|Munich|Cologne|Leipzig|Dresden|Bremen|Hanover|Nuremberg|Freiburg|Rostock|Kassel|Mainz|Lübeck|Erfurt|Ulm'),
('Ghana', 'Accra|Kumasi|Tamale'),
('Greece', 'Thessaloniki|Heraklion|Volos|Ioannina'),
('Guatemala', 'Quetzaltenango|Antigua'),
('Honduras', 'Tegucigalpa|La Ceiba'),
('Hungary', 'Budapest|Debrecen|Szeged|Pécs'),
('Iceland', 'Reykjavík|Akureyri'),
('India', 'Mumbai|Delhi|Bengaluru|Hyderabad|Chennai|Kolkata|Pune|Ahmedabad|Surat|Kochi|Madurai|Mysuru|Nagpur|Varanasi|Amritsar|Chandigarh|Visakhapatnam|Vadodara|Dehradun|Srinagar|Kozhikode|Panaji|Raipur|Bhubaneswar|Guwahati|Udaipur|Jodhpur|Kanpur|Lucknow|Shillong|Thrissur|Nashik|Jamshedpur|Puducherry|Gwalior'),
('Indonesia', 'Jakarta|Bandung|Medan|Semarang|Makassar|Palembang|Denpasar|Manado|Padang|Pontianak'),
('Iran', 'Tehran|Mashhad|Isfahan|Tabriz|Yazd|Rasht'),
('Iraq', 'Basra|Erbil|Kirkuk'),
('Ireland', 'Dublin|Cork|Limerick|Galway'),
('Israel', 'Haifa|Beersheba|Netanya'),
('Italy', 'Milan|Naples|Turin|Palermo|Genoa|Florence|Bari|Verona|Trieste|Lecce|Parma|Ravenna'),
('Jamaica', 'Montego Bay|Mandeville'),
('Japan', 'Tokyo|Yokohama|Kyoto|Kobe|Fukuoka|Sapporo|Sendai|Niigata|Kanazawa|Kagoshima|Nara|Takamatsu|Matsue|Aomori|Hakodate|Kochi City|Gifu|Toyama|Utsunomiya|Wakayama|Okayama|Nagano'),
('Jordan', 'Amman|Aqaba'),
('Kazakhstan', 'Almaty|Astana|Karaganda'),
('Kenya', 'Nairobi|Mombasa|Eldoret'),
('Laos', 'Vientiane|Luang Prabang'),
('Latvia', 'Riga|Jelgava'),
('Lebanon', 'Beirut|Sidon'),
('Lithuania', 'Kaunas|Klaipėda'),
('Madagascar', 'Antananarivo|Toamasina'),
('Malaysia', 'Kuala Lumpur|George Town|Kota Kinabalu|Kuching|Malacca'),
('Mali', 'Bamako|Ségou'),
('Malta', 'Valletta|Sliema'),
('Mauritius', 'Port Louis|Curepipe'),
('Mexico', 'Mexico City|Puebla|Tijuana|Mérida|Oaxaca|Veracruz|Morelia|Chihuahua|Querétaro|Zacatecas|Saltillo|Tampico|Culiacán|Campeche|Pachuca|Durango|Colima|Xalapa|La Paz'),
('Moldova', 'Bălți|Tiraspol'),
('Mongolia', 'Ulaanbaatar|Erdenet'),
('Morocco', 'Casablanca|Marrakesh|Fez|Agadir'),
('Mozambique', 'Maputo|Nampula'),
('Myanmar', 'Yangon|Mandalay'),
('Namibia', 'Windhoek|Swakopmund'),
('Nepal', 'Kathmandu|Pokhara'),
('Netherlands', 'Rotterdam|Utrecht|Eindhoven|Groningen|Haarlem|Maastricht'),
('New Zealand', 'Auckland|Wellington|Christchurch|Dunedin'),
('Nicaragua', 'León|Granada'),
('Nigeria', 'Lagos|Abuja|Kano|Ibadan|Enugu|Jos|Calabar|Kaduna'),
('North Macedonia', 'Skopje|Bitola'),
('Norway', 'Oslo|Bergen|Trondheim|Stavanger|Tromsø|Bodø'),
('Oman', 'Nizwa|Sohar'),
('Pakistan', 'Karachi|Lahore|Multan|Quetta|Rawalpindi|Faisalabad|Gujranwala'),
('Panama', 'Colón|Santiago de Veraguas'),
('Paraguay', 'Encarnación|Concepción'),
('Peru', 'Arequipa|Cusco|Trujillo|Iquitos|Piura'),
('Philippines', 'Manila|Cebu|Baguio|Iloilo|Zamboanga|Tacloban|Naga|Legazpi|Dumaguete|Vigan'),
('Poland', 'Warsaw|Kraków|Gdańsk|Wrocław|Poznań|Łódź|Toruń|Rzeszów|Szczecin'),
('Portugal', 'Lisbon|Porto|Coimbra|Braga|Faro'),
('Qatar', 'Doha|Al Wakrah'),
('Romania', 'Bucharest|Cluj-Napoca|Timișoara|Iași|Brașov'),
('Rwanda', 'Kigali|Huye'),
('Saudi Arabia', 'Riyadh|Jeddah|Dammam|Medina'),
('Senegal', 'Dakar|Saint-Louis'),
('Serbia', 'Belgrade|Novi Sad|Niš'),
('Slovakia', 'Košice|Žilina|Nitra'),
('Slovenia', 'Ljubljana|Maribor'),
('South Africa', 'Cape Town|Durban|Pretoria|Gqeberha|Bloemfontein|Polokwane|Kimberley'),
('South Korea', 'Seoul|Busan|Daegu|Incheon|Gwangju|Daejeon|Jeonju'),
('Spain', 'Madrid|Barcelona|Valencia|Seville|Bilbao|Zaragoza|Málaga|Murcia|Oviedo|Cádiz|Salamanca'),
('Sri Lanka', 'Colombo|Kandy|Galle'),
('Sweden', 'Stockholm|Gothenburg|Uppsala|Umeå'),
('Switzerland', 'Zürich|Bern|St. Gallen|Lugano'),
('Tanzania', 'Dar es Salaam|Arusha|Dodoma'),
('Thailand', 'Bangkok|Chiang Mai|Phuket|Khon Kaen'),
('Tunisia', 'Tunis|Sfax'),
('Turkey', 'Ankara|Izmir|Bursa|Antalya|Trabzon|Konya|Eskişehir'),
('Ukraine', 'Kyiv|Lviv|Odesa|Kharkiv|Dnipro|Chernivtsi'),
('United Kingdom', 'London|Manchester|Glasgow|Edinburgh|Cardiff|Belfast|Leeds|Bristol|Sheffield|Norwich|Aberdeen|Plymouth|Exeter'),
('United States', 'New York|Chicago|Houston|Phoenix|Seattle|Denver|Boston|Atlanta|Portland|Minneapolis|Baltimore|Milwaukee|Albuquerque|Tucson|Omaha|Honolulu|Pittsburgh|Cleveland|Buffalo|Richmond|Boise|Anchorage|Savannah|Tulsa|Spokane|Duluth|Madison|Santa Fe|Burlington|Charleston|Missoula|Knoxville'),
('Vietnam', 'Hanoi|Da Nang|Hue|Can Tho|Nha Trang');

INSERT INTO country (country_id, country, last_update)
SELECT n, country, timestamptz '2022-01-03 08:20:00+00' FROM atlas ORDER BY n;

INSERT INTO city (city_id, city, country_id, last_update)
SELECT row_number() OVER (ORDER BY c.city COLLATE "C", a.n), c.city, a.n, timestamptz '2022-01-03 08:30:00+00'
  FROM atlas AS a, unnest(string_to_array(a.cities, '|')) AS c(city)
 ORDER BY 1;

DROP TABLE atlas;

RESET search_path;
RESET TimeZone;
RESET jit;
RESET client_min_messages;
RESET client_encoding;
